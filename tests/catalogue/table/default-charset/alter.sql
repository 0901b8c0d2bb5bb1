-- another default charset: columns stay
DEFAULT CHARACTER SET latin1
