-- ENGINE=InnoDB again
ENGINE=InnoDB
