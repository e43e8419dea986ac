package tlsconf

import (
	"os"
	"os/exec"
	"sync"
	"testing"
)

// TestTogether: programs that start at once on one folder end with one pair.
func TestTogether(t *testing.T) {
	if dir := os.Getenv("TLSCONF_TOGETHER"); dir != "" {
		if _, err := Open(Options{Dir: dir, Names: []string{"mail.example.test"}}); err != nil {
			t.Fatal(err)
		}
		return
	}
	for range 5 {
		dir := t.TempDir()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				cmd := exec.Command(os.Args[0], "-test.run", "^TestTogether$")
				cmd.Env = append(os.Environ(), "TLSCONF_TOGETHER="+dir)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		all.Wait()
	}
}
