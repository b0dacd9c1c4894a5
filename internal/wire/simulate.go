package wire

import "time"

// The controls of a simulation, which `latchkey serve --demo --simulate` serves
// and nothing else does. Every body is JSON, and says so in Content-Type. An answer
// without a body is 204; refusals are admin.ErrorBody. Requests of web pages are refused.
const (
	PathSimulateClock = PathSimulate +
		"clock" // GET → SimulateClock; POST SimulateAdvance → SimulateClock; PUT SimulateStanding → SimulateClock
	PathSimulateFaults   = PathSimulate + "faults"   // GET → SimulateFaults; POST SimulateFault → the same; DELETE
	PathSimulateSwitches = PathSimulate + "switches" // GET → SimulateSwitches; PUT SimulateSwitches → SimulateSwitches
	PathSimulateEvents   = PathSimulate + "events"   // GET ?after=&limit= → admin.Events
	PathSimulateLock     = PathSimulate + "lock"     // POST admin.Name
	PathSimulateUnlock   = PathSimulate + "unlock"   // POST admin.Name
	PathSimulateExpire   = PathSimulate + "expire"   // POST admin.Name → admin.Count
	PathSimulateRevoke   = PathSimulate + "revoke"   // POST admin.Key
	PathSimulateReset    = PathSimulate + "reset"    // POST, no body

	PathSimulateUsers = PathSimulate +
		"users" // GET ?after=&limit= → admin.Users; POST SimulatePassword; DELETE ?name=
	PathSimulatePassword = PathSimulate + "password" // PUT SimulatePassword
	PathSimulateStrikes  = PathSimulate + "strikes"  // PUT SimulateStrikes
	PathSimulateClients  = PathSimulate + "clients"  // GET → admin.APIClients; POST admin.Credentials; DELETE ?key=
)

// SimulateClock is the time of the simulation.
type SimulateClock struct {
	Now      time.Time `json:"now"`
	Standing bool      `json:"standing"` // it stands still until it is moved
}

// SimulateStanding makes the clock stand still, or run on from where it stands.
type SimulateStanding struct {
	Standing bool `json:"standing"`
}

// SimulatePassword is a user with a password. Any password goes.
type SimulatePassword struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// SimulateStrikes sets how many logins of a user failed in a row. As many as lock an
// account lock it; fewer lift a lock.
type SimulateStrikes struct {
	Name     string `json:"name"`
	Failures int    `json:"failures"`
}

// SimulateAdvance moves the clock ahead.
type SimulateAdvance struct {
	Advance string `json:"advance"` // a duration: "90s", "20m", "1h30m"
}

// SimulateFault is a fault for the next requests.
type SimulateFault struct {
	Fault     string `json:"fault"`               // its name: "drop-after"
	Operation string `json:"operation,omitempty"` // "login"; empty: any
	// Times is how many requests it is for; 0 means 1. In an answer it is how
	// many are left.
	Times      int    `json:"times,omitempty"`
	Status     int    `json:"status,omitempty"`     // of "fail"
	Form       string `json:"form,omitempty"`       // of "refuse-as": the name of a PublishedRefusal
	Delay      string `json:"delay,omitempty"`      // of "delay": a duration
	RetryAfter string `json:"retryAfter,omitempty"` // of "throttle" and "fail": a duration
}

// SimulateFaults are the faults that are still to come, in their order.
type SimulateFaults struct {
	Faults []SimulateFault `json:"faults"`
}

// SimulateSwitches decide what the vendor leaves undocumented.
type SimulateSwitches struct {
	EndSessionsOnLogin  bool `json:"endSessionsOnLogin"`
	KeepSessionsOnReset bool `json:"keepSessionsOnReset"`
	StrikeOnAbort       bool `json:"strikeOnAbort"`
}
