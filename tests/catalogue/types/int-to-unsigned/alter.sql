-- signed to unsigned
MODIFY c INT UNSIGNED
