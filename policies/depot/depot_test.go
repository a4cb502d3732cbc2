package depot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
)

// stock is a depot with its host and what it told.
type stock struct {
	*depot.Depot
	t    *testing.T
	host *policies.Host
	mu   sync.Mutex
	told []depot.Event
}

func open(t *testing.T, dir string) *stock {
	t.Helper()
	cache := t.TempDir()
	newHost := func() (*policies.Host, error) {
		return policies.New(context.Background(), policies.Config{CacheDir: cache})
	}
	host, err := newHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() }) //nolint:errcheck // the test is over
	s := &stock{t: t, host: host}
	s.Depot, err = depot.Open(depot.Config{Dir: dir, Host: host, Builtin: map[string][]byte{"eco": builtin.Modules()["eco"]}, Sandbox: newHost, Notice: func(e depot.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, e)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stock) last() depot.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) == 0 {
		return depot.Event{}
	}
	return s.told[len(s.told)-1]
}

// serves checks which module serves.
func (s *stock) serves(name string, wasm []byte) {
	s.t.Helper()
	got, _ := s.host.Digest(name)
	want := ""
	if wasm != nil {
		want = signing.Digest(wasm)
	}
	if got != want {
		s.t.Errorf("%s is served by %.12s, want %.12s", name, got, want)
	}
}

func (s *stock) start(entries []depot.Entry, trust signing.Trust) {
	s.t.Helper()
	if err := s.Start(entries, trust); err != nil {
		s.t.Fatal(err)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// variant is a module that does the same and has another digest: a custom section is added.
func variant(wasm []byte, name string) []byte {
	return append(append(bytes.Clone(wasm), 0, byte(1+len(name)), byte(len(name))), name...)
}

func TestVersions(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	one, two := variant(eco, "one"), variant(eco, "two")
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	s.serves("eco", eco)

	if r, err := s.Validate(depot.Upload{Name: "eco", Module: one}); err != nil || r.State != depot.StateDry || r.Limit != policies.DefaultFuel || len(s.Versions("eco")) != 0 {
		t.Fatalf("validate: %+v, %v", r, err)
	}
	first, err := s.Stage(depot.Upload{Name: "eco", Module: one, Params: map[string]string{"min_quality": "0.7"}, Fuel: 9_000_000, By: "me"})
	if err != nil || first.Number != 1 || first.State != depot.StateStaged {
		t.Fatalf("stage: %+v, %v", first, err)
	}
	if again, err := s.Stage(depot.Upload{Name: "eco", Module: one, Params: map[string]string{"min_quality": "0.7"}, Fuel: 9_000_000}); err != nil || again.Number != 1 {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	s.serves("eco", eco)
	if r, err := s.Activate("eco", first.Digest[:12], "me"); err != nil || r.Number != 1 || r.State != depot.StateActive {
		t.Fatalf("activate: %+v, %v", r, err)
	}
	s.serves("eco", one)
	if e := s.last(); e.Action != depot.ActionActivate || e.Previous != signing.Digest(eco) || e.By != "me" || e.Version != 1 {
		t.Errorf("event %+v", e)
	}
	if _, err := s.Stage(depot.Upload{Name: "eco", Module: two}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Activate("eco", "2", "me"); err != nil {
		t.Fatal(err)
	}
	s.serves("eco", two)

	// After a restart the same serves, and the way back is still known.
	s = open(t, dir)
	s.start(nil, signing.Trust{})
	s.serves("eco", two)
	for _, want := range [][]byte{one, eco} {
		if _, err := s.Rollback("eco", "me"); err != nil {
			t.Fatal(err)
		}
		s.serves("eco", want)
	}
	if _, err := s.Rollback("eco", "me"); !errors.Is(err, depot.ErrUnknown) {
		t.Errorf("one too many: %v", err)
	}
	if v := s.Versions("eco"); len(v) != 2 || v[0].Number != 2 || v[1].Fuel != 9_000_000 {
		t.Errorf("versions %+v", v)
	}
	audit, err := s.Audit("eco", 100)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range slices.Backward(audit) {
		actions = append(actions, e.Action)
	}
	if got := strings.Join(actions, " "); got != "upload activate upload activate rollback rollback" {
		t.Errorf("audit %s", got)
	}
}

func TestNewPolicy(t *testing.T) {
	s := open(t, t.TempDir())
	s.start(nil, signing.Trust{})
	if _, err := s.Stage(depot.Upload{Name: "mine", Module: builtin.Modules()["balanced"]}); err != nil {
		t.Fatal(err)
	}
	s.serves("mine", nil)
	if _, err := s.Activate("mine", "1", ""); err != nil {
		t.Fatal(err)
	}
	s.serves("mine", builtin.Modules()["balanced"])
	if _, err := s.Rollback("mine", ""); err != nil {
		t.Fatal(err)
	}
	s.serves("mine", nil)
}

func TestRefused(t *testing.T) {
	eco := builtin.Modules()["eco"]
	public, _, file, err := signing.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.OpenKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	trust := signing.Trust{Keys: []signing.PublicKey{public}}
	for _, c := range []struct {
		name   string
		trust  signing.Trust
		upload depot.Upload
		want   error
		text   string
	}{
		{"no module", signing.Trust{}, depot.Upload{Name: "eco", Module: []byte("\x00asm\x01\x00\x00\x00")}, policies.ErrRefused, "exports nothing"},
		{"empty", signing.Trust{}, depot.Upload{Name: "eco"}, depot.ErrInvalid, "empty"},
		{"a bad name", signing.Trust{}, depot.Upload{Name: "../x", Module: eco}, depot.ErrInvalid, "letters"},
		{"too much fuel", signing.Trust{}, depot.Upload{Name: "eco", Module: eco, Fuel: 1 << 40}, depot.ErrInvalid, "fuel"},
		{"too little fuel", signing.Trust{}, depot.Upload{Name: "eco", Module: eco, Fuel: 10}, depot.ErrConformance, "fuel"},
		{"bad parameters", signing.Trust{}, depot.Upload{Name: "eco", Module: eco, Params: map[string]string{"min_quality": "high"}}, policies.ErrConfigure, "min_quality"},
		{"careless", signing.Trust{}, depot.Upload{Name: "eco", Module: careless()}, depot.ErrConformance, "bad plan"},
		{"unsigned", trust, depot.Upload{Name: "eco", Module: eco}, signing.ErrUnsigned, ""},
		{"more fuel than signed", trust, depot.Upload{Name: "eco", Module: eco, Fuel: 2_000_000, Signature: signing.Sign(key, eco, 0, 1_000_000)}, signing.ErrLimits, "1000000"},
		{"more grants than signed", trust, depot.Upload{Name: "eco", Module: eco, Grants: abi.GrantText, Signature: signing.Sign(key, eco, 0, 1_000_000)}, signing.ErrLimits, "text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			s.start(nil, c.trust)
			_, err := s.Stage(c.upload)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.text)
			}
			s.serves("eco", eco)
			if e := s.last(); e.Action != depot.ActionUpload || e.Error == "" {
				t.Errorf("event %+v", e)
			}
		})
	}
	t.Run("signed", func(t *testing.T) {
		s := open(t, t.TempDir())
		s.start(nil, trust)
		r, err := s.Stage(depot.Upload{Name: "eco", Module: eco, Signature: signing.Sign(key, eco, abi.GrantText, 1_000_000)})
		if err != nil || r.Signer != public.ID() || r.Limit != 1_000_000 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// careless is a module that loads and starts, and whatever it is asked answers with the worked example of sdk/abi: candidate 3.
func careless() []byte {
	leb := func(n int64) (b []byte) {
		for ; n < -64 || n > 63; n >>= 7 {
			b = append(b, byte(n)&0x7f|0x80)
		}
		return append(b, byte(n)&0x7f)
	}
	section := func(id byte, content ...byte) []byte {
		size := len(content)
		return append([]byte{id, byte(size&0x7f | 0x80), byte(size >> 7)}, content...)
	}
	export := func(name string, kind, index byte) []byte {
		return append(append([]byte{byte(len(name))}, name...), kind, index)
	}
	body := func(code ...byte) []byte { return append(append([]byte{byte(len(code) + 2), 0}, code...), 0x0b) }
	constant := func(opcode byte, value int64) []byte { return body(append([]byte{opcode}, leb(value)...)...) }
	plan := []byte("\x01\x00\x20\x00\x01\x00\x80\x00\x01\x00\x18\x00\x00\x00\x08\x00" + strings.Repeat("\x00", 16) +
		"\x03\x00\x01\x00" + strings.Repeat("\x00", 8) + "\x00\x00\x80\x3f\x80\x00" + strings.Repeat("\x00", 6))
	const i32, i64, planAt, bufferAt = 0x41, 0x42, 16, 65_536
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 3, 0x60, 0, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7e), // () i32, (i32) i32, (i32) i64
		section(3, 5, 0, 1, 1, 1, 2),
		section(5, 1, 0, 16),
		section(7, slices.Concat([]byte{6}, export(abi.ExportMemory, 2, 0), export(abi.ExportVersion, 0, 0), export(abi.ExportBuffer, 0, 1),
			export(abi.ExportConfigure, 0, 2), export(abi.ExportSnapshot, 0, 3), export(abi.ExportRoute, 0, 4))...),
		section(10, slices.Concat([]byte{5}, constant(i32, abi.Version), constant(i32, bufferAt), constant(i32, 0), constant(i32, 0),
			constant(i64, planAt<<32|int64(len(plan))))...),
		section(11, slices.Concat([]byte{1, 0, i32, planAt, 0x0b, byte(len(plan))}, plan)...))
}

func TestConfiguration(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	one, two := variant(eco, "one"), variant(eco, "two")
	file := filepath.Join(dir, "mine.wasm")
	write(t, file, one)
	s := open(t, filepath.Join(dir, "data"))
	entry := depot.Entry{Name: "mine", File: file, Signature: file + ".minisig", Place: "x.toml:1:1"}
	s.start([]depot.Entry{entry}, signing.Trust{})
	s.serves("mine", one)

	// A file that the configuration names decides, whatever is uploaded.
	if _, err := s.Stage(depot.Upload{Name: "mine", Module: two}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Activate("mine", "1", ""); !errors.Is(err, depot.ErrPinned) || !strings.Contains(err.Error(), "x.toml:1:1") {
		t.Errorf("activated beside the file: %v", err)
	}
	// What cannot be loaded changes nothing, and is told with its place.
	entry.Params = map[string]string{"min_quality": "high"}
	if err := s.Reload([]depot.Entry{entry}, signing.Trust{}, "SIGHUP"); err == nil || !strings.Contains(err.Error(), "x.toml:1:1") {
		t.Errorf("bad parameters: %v", err)
	}
	s.serves("mine", one)
	if got := s.Serving()["mine"]; got.Refused == "" || got.Source != file {
		t.Errorf("serving %+v", got)
	}
	entry.Params = nil
	if err := s.Reload([]depot.Entry{entry}, signing.Trust{}, "SIGHUP"); err != nil || s.Serving()["mine"].Refused != "" {
		t.Errorf("mended: %v, %+v", err, s.Serving()["mine"])
	}
	// A policy that is configured no more goes away.
	if err := s.Reload(nil, signing.Trust{}, "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	s.serves("mine", nil)
	s.serves("eco", eco)

	missing := depot.Entry{Name: "other", File: filepath.Join(dir, "none.wasm"), Place: "x.toml:9:1"}
	if err := open(t, filepath.Join(dir, "data2")).Start([]depot.Entry{missing}, signing.Trust{}); err == nil || !strings.Contains(err.Error(), "x.toml:9:1: policy other: open") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestWatch replaces a file in the ways people do: renaming, writing in place, turning a symbolic link, and badly.
func TestWatch(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	file := filepath.Join(dir, "mine.wasm")
	module := func(n string) []byte { return variant(eco, n) }
	write(t, file, module("0"))
	for _, version := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "linked.wasm"), module(version))
	}
	current := filepath.Join(dir, "current")
	if err := os.Symlink("a", current); err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(dir, "data"))
	s.start([]depot.Entry{{Name: "mine", File: file}, {Name: "linked", File: filepath.Join(current, "linked.wasm")}}, signing.Trust{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.Watch(ctx, 10*time.Millisecond)
		close(done)
	}()
	defer func() { cancel(); <-done }()
	until := func(what, name string, wasm []byte) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got, _ := s.host.Digest(name); got == signing.Digest(wasm) {
				return
			}
		}
		t.Fatalf("%s: not noticed; last event %+v", what, s.last())
	}
	next := filepath.Join(dir, ".next")
	write(t, next, module("renamed"))
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	until("renamed", "mine", module("renamed"))
	write(t, file, module("in place"))
	until("written in place", "mine", module("in place"))
	if err := os.Symlink("b", current+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(current+".new", current); err != nil {
		t.Fatal(err)
	}
	until("link turned", "linked", module("b"))

	write(t, file, []byte("not a module"))
	for end := time.Now().Add(20 * time.Second); s.last().Error == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a bad file was not refused")
		}
	}
	s.serves("mine", module("in place"))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	s.serves("mine", module("in place"))
	write(t, file, module("back"))
	until("back again", "mine", module("back"))
}

// TestDamage damages what is on disk.
func TestDamage(t *testing.T) {
	eco := builtin.Modules()["eco"]
	dir := t.TempDir()
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	one := variant(eco, "one")
	if _, err := s.Stage(depot.Upload{Name: "eco", Module: one}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Activate("eco", "1", ""); err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "modules", signing.Digest(one)+".wasm")
	write(t, module, variant(eco, "two"))
	s = open(t, dir)
	s.start(nil, signing.Trust{}) // it starts, with the built-in one
	s.serves("eco", eco)
	if _, err := s.Activate("eco", "1", ""); !errors.Is(err, depot.ErrDisk) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged module: %v", err)
	}
	write(t, filepath.Join(dir, "manifest.json"), []byte("{"))
	if _, err := depot.Open(depot.Config{Dir: dir}); !errors.Is(err, depot.ErrDisk) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged manifest: %v", err)
	}
}

// TestPrune uploads more versions than are kept.
func TestPrune(t *testing.T) {
	dir, eco := t.TempDir(), builtin.Modules()["eco"]
	s := open(t, dir)
	s.start(nil, signing.Trust{})
	for n := range depot.MaxVersions + 5 {
		if _, err := s.Stage(depot.Upload{Name: "eco", Module: variant(eco, strings.Repeat("x", n+1))}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if _, err := s.Activate("eco", "1", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v := s.Versions("eco"); len(v) != depot.MaxVersions || v[len(v)-1].Number != 1 || v[len(v)-1].State != depot.StateActive {
		t.Errorf("%d versions, the oldest is %+v", len(v), v[len(v)-1])
	}
	files, err := os.ReadDir(filepath.Join(dir, "modules"))
	if err != nil || len(files) != depot.MaxVersions {
		t.Errorf("%d modules, %v", len(files), err)
	}
	var m struct{ Format int }
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil || json.Unmarshal(text, &m) != nil || m.Format != 1 {
		t.Errorf("manifest %s, %v", text, err)
	}
}
