package replay

import (
	"context"
	"testing"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
)

func newHost(t testing.TB) *policies.Host {
	t.Helper()
	host, err := policies.New(context.Background(), policies.Config{CacheDir: cacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() }) //nolint:errcheck // the test is over
	return host
}

func cacheDir(t testing.TB) string { return t.TempDir() }

func generated(t testing.TB, g records.Generated) records.Source {
	t.Helper()
	if g.Policies == nil {
		g.Policies = builtin.Modules()
	}
	src, err := records.Generate(g, newHost(t))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestReproduces: decisions of the built-in policies come out the same, and replaced by themselves nothing changes.
func TestReproduces(t *testing.T) {
	const n = 5000
	r, err := Run(t.Context(), generated(t, records.Generated{Seed: 1, Requests: n}), Options{})
	if err != nil || r.Records != n || r.Reproduced != n || r.Comparison != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	eco := &Candidate{Name: "eco", Module: builtin.Modules()["eco"]}
	r, err = Run(t.Context(), generated(t, records.Generated{Seed: 1, Requests: n, Policies: map[string][]byte{"eco": eco.Module}}), Options{Candidate: eco})
	if err != nil || r.Reproduced != n {
		t.Fatalf("%+v, %v", r, err)
	}
	c := r.Comparison
	if c.Changed != 0 || c.Exact != n || c.Line(LineWas).Cost != c.Line(LineWould).Cost || c.Line(LineWas).Cost == 0 {
		t.Errorf("%+v", c)
	}
}
