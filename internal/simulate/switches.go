package simulate

import "github.com/latchkey/latchkey/internal/authority"

// Switches decide what the vendor leaves undocumented.
type Switches struct {
	EndSessionsOnLogin  bool // a login ends the user's other sessions
	KeepSessionsOnReset bool // a password reset leaves the user's other sessions alive
	StrikeOnAbort       bool // a login whose caller leaves before it is answered, or that DropBefore cuts off, is a strike
}

// apply answers the policy with the switches in it.
func (s Switches) apply(policy authority.Policy) authority.Policy {
	policy.EndSessionsOnLogin = s.EndSessionsOnLogin
	policy.KeepSessionsOnReset = s.KeepSessionsOnReset
	policy.StrikeOnAbort = s.StrikeOnAbort
	policy.RefuseWeakPasswords = false // which are worth nothing here
	return policy
}
