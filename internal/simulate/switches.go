package simulate

import (
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// Switches select behavior that the vendor leaves undocumented. Package latchtest documents
// each of them.
type Switches = wire.SimulateSwitches

// apply returns the policy with the switches in it.
func apply(s Switches, policy authority.Policy) authority.Policy {
	policy.EndSessionsOnLogin = s.EndSessionsOnLogin
	policy.KeepSessionsOnReset = s.KeepSessionsOnReset
	policy.StrikeOnAbort = s.StrikeOnAbort
	policy.RefuseWeakPasswords = false // passwords protect nothing here
	return policy
}
