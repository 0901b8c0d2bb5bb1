-- another engine
ENGINE=MyISAM
