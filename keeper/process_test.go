package keeper_test

func runRole(string) int { return 0 }
