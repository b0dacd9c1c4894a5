package redisstore

// Relies reports whether copies may be answered at this moment.
func Relies(s *Store) bool { return s.leased() != nil }

// Answers counts by what checks were answered.
func Answers(s *Store) (memory, redis, database int64) {
	return s.fromLocal.Load(), s.fromRedis.Load(), s.fromBelow.Load()
}
