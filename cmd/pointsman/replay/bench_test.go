package replay

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/policies/builtin"
)

// file is a records file in memory.
func file(t testing.TB, g records.Generated) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := records.NewWriter(&b, records.Head{})
	if err == nil {
		err = records.Copy(w, generated(t, g), nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// goGuest is examples/policy-go as a module.
func goGuest(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "policy.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "../../../examples/policy-go")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// BenchmarkReplay reads records and decides them again on one processor. An operation is a record; decisions/cpu-s is a second of processor time, and counts the one that
// proves and the one of the candidate.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	data := file(b, records.Generated{Seed: 1, Requests: n, Policies: map[string][]byte{"balanced": builtin.Modules()["balanced"]}})
	cache := b.TempDir()
	for _, one := range []struct {
		name      string
		candidate *Candidate
		decisions int
	}{
		{"prove", nil, 1},
		{"built-in", &Candidate{Name: "eco", Module: builtin.Modules()["eco"]}, 2},
		{"Go guest", &Candidate{Name: "policy-go", Module: goGuest(b)}, 2},
	} {
		b.Run(one.name, func(b *testing.B) {
			b.ReportAllocs()
			done, before := 0, cpuTime()
			for done < b.N {
				src, _, err := records.Open(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				r, err := Run(context.Background(), src, Options{Workers: 1, Candidate: one.candidate, CacheDir: cache})
				if err != nil || r.Reproduced != n {
					b.Fatalf("%+v, %v", r, err)
				}
				done += n
			}
			b.ReportMetric(float64(done*one.decisions)/(cpuTime()-before).Seconds(), "decisions/cpu-s")
		})
	}
}
