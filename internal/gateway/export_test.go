package gateway

// Held is how many bytes of bodies are accounted as held, altogether and for a user.
func (g *Gateway) Held(user string) (all, own int64) {
	g.held.mu.Lock()
	defer g.held.mu.Unlock()
	return g.held.held, g.held.users[user]
}
