package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/plugins/builtin"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// TestMain lets the test binary be the plugin process and the compiling process too, as the gateway's own binary is.
func TestMain(m *testing.M) {
	if builtin.IsProcess() {
		builtin.Serve()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == compileCommand {
		os.Exit(compileProcess(os.Args[2:], os.Stdin, terminal{os.Stdout, os.Stderr}))
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(max(6, runtime.GOMAXPROCS(0)))) //nolint:errcheck // parallel tests wait more than they work
	}
	status := m.Run()
	os.RemoveAll(built.dir) //nolint:errcheck // it is temporary
	os.Exit(status)
}

// built is the gateway's binary, linked once for all tests that run it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// buildGateway puts the gateway's binary into a directory and returns its path, which is the test's own: it finds its processes by it.
func buildGateway(t *testing.T, dir string) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp(os.Getenv("GOTMPDIR"), "pointsman"); built.err != nil { // where t.TempDir is, so that links are possible
			return
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "pointsman"), ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	binary := filepath.Join(dir, "pointsman")
	if built.err != nil {
		t.Fatalf("building the binary: %v", built.err)
	}
	if err := os.Link(filepath.Join(built.dir, "pointsman"), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// noEnv is the environment of test gateways: whatever keys the machine has are not used.
func noEnv(string) string { return "" }

// testGateway is a real gateway on free ports with a data directory of its own.
type testGateway struct {
	*gateway
	t        testing.TB
	api      *client // with the key of the first account, "default"
	admin    *client
	evidence *evidence
}

// newGateway starts a gateway from TOML text. env resolves ${NAME} references; nil: there are none.
func newGateway(t testing.TB, toml string, env func(string) string) *testGateway {
	t.Helper()
	if env == nil {
		env = noEnv
	}
	file := filepath.Join(t.TempDir(), "pointsman.toml")
	if err := os.WriteFile(file, []byte("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"+toml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, env)
	if err != nil {
		t.Fatal(err)
	}
	return startGateway(t, cfg, filepath.Join(t.TempDir(), "data"))
}

func startGateway(t testing.TB, cfg *config.Config, data string) *testGateway {
	t.Helper()
	return startGatewayAt(t, cfg, data, nil)
}

// startGatewayAt is startGateway with a clock of the test's.
func startGatewayAt(t testing.TB, cfg *config.Config, data string, now func() time.Time) *testGateway {
	t.Helper()
	e := &evidence{}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(testLog{t}, e), &slog.HandlerOptions{Level: slog.LevelDebug}))
	g, err := start(context.Background(), cfg, options{dataDir: data, log: log, env: noEnv, now: now})
	if err != nil {
		t.Fatal(err)
	}
	tg := watched(t, g, e)
	t.Cleanup(func() { tg.stopAndVerify() })
	return tg
}

// watched is a gateway of a test with clients, and with what must never be seen of it.
func watched(t testing.TB, g *gateway, e *evidence) *testGateway {
	t.Helper()
	tg := &testGateway{gateway: g, t: t, evidence: e}
	tg.api = tg.client("http://"+g.listener.Addr().String(), g.firstKey)
	tg.admin = tg.client("http://"+g.adminListn.Addr().String(), g.masterKey.Reveal())
	for _, p := range g.cfg.Providers {
		e.secret(p.APIKey.Reveal())
	}
	if root, err := os.ReadFile(filepath.Join(g.dataDir, "root.key")); err == nil {
		e.secret(strings.TrimSpace(string(root)))
	}
	return tg
}

// client is a client whose key, and those that it stores, must never be seen.
func (g *testGateway) client(base, key string) *client {
	g.evidence.secret(key)
	evidences.Store(base, g.evidence)
	return newClient(base, key)
}

// stopAndVerify ends the gateway and proves its ledger. It may be called before the test's end.
func (g *testGateway) stopAndVerify() {
	if g.gateway == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	data := g.dataDir
	if err := g.stop(ctx); err != nil {
		g.t.Errorf("stopping: %v", err)
	}
	g.gateway = nil
	g.evidence.search(g.t, data)
	if err := badgerdb.Verify(data, io.Discard); err != nil {
		g.t.Errorf("ledger: %v", err)
	}
}

// account makes an account with a key and returns a client that uses it.
func (g *testGateway) account(id string) *client {
	g.t.Helper()
	if err := g.admin.call("POST", "/api/v1/admin/accounts", map[string]string{"id": id}, nil); err != nil {
		g.t.Fatal(err)
	}
	var key keyEntry
	if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": id}, &key); err != nil {
		g.t.Fatal(err)
	}
	return g.client(g.api.base, key.Key)
}

// post sends a chat request and returns the answer with its body read.
func (c *client) post(t testing.TB, path string, body any) (*http.Response, string) {
	t.Helper()
	return c.send(t, "POST", path, body)
}

// send is post with any method.
func (c *client) send(t testing.TB, method, path string, body any) (*http.Response, string) {
	t.Helper()
	resp, err := c.do(method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v after %q", err, text)
	}
	return resp, string(text)
}

// testLog sends the gateway's log to the test's.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// serveOn serves on a free port until the test ends, and returns the base URL.
func serveOn(t testing.TB, serve func(net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serve(ln) //nolint:errcheck // it ends with the listener
	return "http://" + ln.Addr().String()
}
