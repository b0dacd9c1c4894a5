package gateway

import "time"

// SetTimes changes how long a body may stand still, and how long one may take to be held.
func (g *Gateway) SetTimes(flow, hold time.Duration) { g.flow, g.holdTime = flow, hold }
