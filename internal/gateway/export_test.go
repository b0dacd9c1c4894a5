package gateway

// Buffered returns the bytes of buffered bodies, of all users and of one.
func (g *Gateway) Buffered(user string) (all, own int64) {
	g.buffered.mu.Lock()
	defer g.buffered.mu.Unlock()
	return g.buffered.total, g.buffered.users[user]
}
