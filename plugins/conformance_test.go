package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

// TestConformance runs the suite on processes: the built-in one, and the example plugin as an operator would run it.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the example plugin")
	}
	path := filepath.Join(t.TempDir(), "provider-go")
	build := exec.Command("go", "build", "-o", path, "github.com/pointsman/pointsman/examples/provider-go")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	h := startHost(t, Config{Builtin: true, Plugins: map[string]Plugin{
		"example": {Path: path, SHA256: hex.EncodeToString(sum[:])},
	}})
	chat := &provider.CallRequest{
		Operation: "chat", Model: "m", RequestID: "r", Body: []byte(`{"model":"m","messages":[{"role":"user","content":"say it back"}]}`),
	}
	for _, c := range []providertest.Case{
		{Adapter: "openai"}, {Adapter: "anthropic"}, {Adapter: "simulator", Call: chat}, {Adapter: "acme"}, {Adapter: "parrot", Call: chat},
	} {
		providertest.Test(t, h, c)
	}
}
