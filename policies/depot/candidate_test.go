package depot_test

import (
	"errors"
	"os"
	"path/filepath"
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

// TestStandDownOnAFullDisk: a candidate that cannot be written down as stood down is none nevertheless, and is written down as such later.
func TestStandDownOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	if _, err := s.Stage(depot.Upload{Name: "eco", Module: variant(builtin.Modules()["eco"], "one")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stand("eco", "1", "", ""); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "manifest.json")
	if err := errors.Join(os.Rename(manifest, manifest+".aside"), os.MkdirAll(filepath.Join(manifest, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.StandDown("eco", depot.ActionRolloutBack, "too dear", "guards"); !errors.Is(err, depot.ErrDisk) {
		t.Fatal(err)
	}
	if _, err := s.Activate("eco", "1", ""); errors.Is(err, depot.ErrBusy) || len(s.Candidates()) != 0 {
		t.Errorf("it is still a candidate: %v", err)
	}
	if err := s.KeepAgain(); !errors.Is(err, depot.ErrDisk) {
		t.Errorf("the disk is still full: %v", err)
	}
	if err := errors.Join(os.RemoveAll(manifest), os.Rename(manifest+".aside", manifest)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.KeepAgain(); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	s.start(nil, signing.Trust{})
	if len(s.Candidates()) != 0 {
		t.Error("it is a candidate again after a start")
	}
}
