-- members of ENUM and SET where the character set becomes one of wide letters
CONVERT TO CHARACTER SET utf16
