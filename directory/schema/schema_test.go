package schema

import "testing"

func TestBase(t *testing.T) {
	s := Base()
	t.Log(len(s.Attributes()), len(s.Classes()))
	u, _ := s.Class("USER")
	for _, a := range u.Requires() {
		t.Log(a.Name)
	}
	for _, c := range u.Above() {
		t.Log("above", c.Name)
	}
}
