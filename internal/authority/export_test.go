package authority

// StrikeKeyOf returns what strikes of a user name are counted under.
func StrikeKeyOf(name string) StrikeKey { return strikeKey(name) }
