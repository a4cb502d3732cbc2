package depot_test

import (
	"errors"
	"testing"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
)

// TestCandidate takes a version through standing beside what serves, a restart, standing down and being promoted.
func TestCandidate(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	one := variant(eco, "one")
	if _, err := s.Stage(depot.Upload{Name: "eco", Module: one}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Promote("eco", "", ""); !errors.Is(err, depot.ErrUnknown) {
		t.Errorf("promoted out of nothing: %v", err)
	}
	if _, err := s.Stand("eco", "1", "a tenth", "me"); err != nil {
		t.Fatal(err)
	}
	beside := func(s *stock, want bool) {
		t.Helper()
		got, loaded := s.host.Digest(depot.CandidateName("eco"))
		if serving, _ := s.host.Digest("eco"); loaded != want || want && got != signing.Digest(one) || serving != signing.Digest(eco) {
			t.Errorf("beside %.12s there is %.12s, %v", serving, got, loaded)
		}
	}
	beside(s, true)
	for name, err := range map[string]error{
		"stand":    func() error { _, err := s.Stand("eco", "1", "", ""); return err }(),
		"activate": func() error { _, err := s.Activate("eco", "1", ""); return err }(),
		"rollback": func() error { _, err := s.Rollback("eco", ""); return err }(),
	} {
		if !errors.Is(err, depot.ErrBusy) {
			t.Errorf("%s beside a candidate: %v", name, err)
		}
	}
	if v := s.Versions("eco"); v[0].State != depot.StateCandidate {
		t.Errorf("%+v", v)
	}

	s = open(t, dir)
	s.start(nil, signing.Trust{})
	beside(s, true)
	if err := s.StandDown("eco", depot.ActionRolloutBack, "too dear", "guards"); err != nil {
		t.Fatal(err)
	}
	beside(s, false)
	if _, err := s.Stand("eco", "1", "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Promote("eco", "none was broken", "guards"); err != nil {
		t.Fatal(err)
	}
	if serving, _ := s.host.Digest("eco"); serving != signing.Digest(one) || len(s.Candidates()) != 0 {
		t.Errorf("%.12s serves", serving)
	}
	changes, err := s.Audit("eco", 2)
	if err != nil || changes[0].Action != depot.ActionPromote || changes[0].Note != "none was broken" {
		t.Errorf("%+v, %v", changes, err)
	}
	if _, err := s.Stand("eco", "1", "", ""); !errors.Is(err, depot.ErrInvalid) {
		t.Errorf("what serves stands beside itself: %v", err)
	}
}
