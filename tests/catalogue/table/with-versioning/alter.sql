-- system versioning is added
ADD SYSTEM VERSIONING
