package e2e

import "testing"

// TestServe runs the main job with all roles in one process.
func TestServe(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	mainJob(t, s)
}

func mainJob(t *testing.T, s *site) {
	users := []string{"alice", "bob", "carol", "dave"}
	s.organisation(users...)
	t.Run("corpus", func(t *testing.T) { corpusRun(t, s.with(t), users) })
	for _, v := range []string{"2.5", "12.1", "14.1", "16.1"} {
		t.Run("both ways "+v, func(t *testing.T) { bothWays(t, s.with(t), v) })
	}
	t.Run("answered", func(t *testing.T) { answered(t, s.with(t)) })
}

// with lets a subtest fail by itself.
func (s *site) with(t *testing.T) *site {
	return &site{t: t, dir: s.dir, bin: s.bin, conf: s.conf, addr: s.addr, env: s.env, proc: s.proc}
}
