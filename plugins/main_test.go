package plugins

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/pointsman/pointsman/plugins/builtin"
	"github.com/pointsman/pointsman/plugins/confine"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

// hostEnv makes the test binary a gateway that does nothing but run plugins.
const hostEnv = "POINTSMAN_TEST_HOST"

// TestMain makes the test binary what the host starts: the built-in process, the shim, and third-party plugins.
func TestMain(m *testing.M) {
	switch {
	case builtin.IsProcess() && confine.IsShim():
		builtin.Serve()
	case builtin.IsProcess() && len(os.Args) > 1:
		misbehave(os.Args[1])
	case builtin.IsProcess():
		rpc.Serve(append(builtin.Adapters(), probe{name: "probe"})...)
	case os.Getenv(hostEnv) != "":
		runHost()
	default:
		os.Exit(m.Run())
	}
}

// runHost is a gateway that prints its plugins' process ids and waits to be killed.
func runHost() {
	h, err := New(Config{Builtin: true, Plugins: map[string]Plugin{"good": self("good")}, Dir: os.Getenv(hostEnv)})
	if err == nil {
		err = h.Start(context.Background())
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	status := h.Status()
	fmt.Println(status[0].PID, status[1].PID)
	time.Sleep(time.Minute)
}

// misbehave is a third-party plugin, good or bad.
func misbehave(how string) {
	switch how {
	case "good":
		rpc.Serve(probe{name: "good"})
	case "thief":
		rpc.Serve(probe{name: "openai"})
	case "garbage":
		fmt.Println("hello, I am \x1b[31mnot a plugin")
		time.Sleep(10 * time.Second)
	case "endless":
		for {
			fmt.Print(strings.Repeat("x", 1<<20))
		}
	case "silent":
		time.Sleep(time.Minute)
	case "exits":
		fmt.Fprintln(os.Stderr, "the licence has expired")
		os.Exit(3)
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc")
		time.Sleep(10 * time.Second)
	case "future":
		fmt.Println("1|99|unix|/tmp/none|grpc")
		time.Sleep(10 * time.Second)
	case "forks":
		cmd := exec.Command("/bin/sleep", "60")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, "fork failed:", err)
		} else {
			fmt.Fprintln(os.Stderr, "child", cmd.Process.Pid)
		}
		rpc.Serve(probe{name: "forks"})
	case "junk": // a good handshake, and no gRPC
		listener, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "junk"))
		if err != nil {
			panic(err)
		}
		fmt.Printf("1|1|unix|%s|grpc\n", listener.Addr())
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(bytes.Repeat([]byte("junk"), 100_000))
		}
	case "foreign": // as one in another language, which knows nothing of go-plugin but the handshake
		listener, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "foreign"))
		if err != nil {
			panic(err)
		}
		server := grpc.NewServer()
		providerv1.RegisterProviderServiceServer(server, hugeServer{})
		go func() { _ = server.Serve(listener) }()
		fmt.Printf("1|1|unix|%s|grpc\n", listener.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		fmt.Fprintln(os.Stderr, "good-bye")
	case "huge": // a message of as many MiB as the request's model says, past the SDK that would divide it
		server := hugeServer{}
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig:  rpc.Handshake(),
			VersionedPlugins: map[int]goplugin.PluginSet{rpc.ProtocolVersion: {"provider": &hugePlugin{server: server}}},
			Logger:           hclog.NewNullLogger(),
			GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
				return grpc.NewServer(append(opts, grpc.MaxSendMsgSize(math.MaxInt32))...)
			},
		})
	case "chatty":
		go func() {
			for range 4000 {
				fmt.Fprintln(os.Stderr, strings.Repeat("y", 1000))
			}
			fmt.Fprintln(os.Stderr, strings.Repeat("z", 200<<10))
		}()
		rpc.Serve(probe{name: "chatty"})
	}
}

// self is the test binary as a third-party plugin.
func self(how string) Plugin {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Plugin{Path: path, SHA256: sumOnce(path), Args: []string{how}}
}

var sumOnce = func() func(string) string {
	var once sync.Once
	var sum string
	return func(path string) string {
		once.Do(func() {
			data, err := os.ReadFile(path)
			if err != nil {
				panic(err)
			}
			digest := sha256.Sum256(data)
			sum = hex.EncodeToString(digest[:])
		})
		return sum
	}
}()

// probe is an adapter that does as the request's operation says.
type probe struct{ name string }

func (p probe) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: p.name, Version: "1.0.0", Summary: "for tests"}, nil
}

func (p probe) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	switch req.BaseURL {
	case "panic":
		panic("a secret")
	case "setting":
		return nil, fmt.Errorf("%w: region is missing", provider.ErrSetting)
	}
	return &provider.Endpoint{
		Mode: provider.ModeDirect, Dialect: provider.DialectAnthropic, BaseURL: "https://example.com",
		Paths: map[string]string{"chat": "/c"}, Headers: map[string]string{"a": "b"},
		Auth:    provider.Auth{Header: "x-api-key", Prefix: "p"},
		Body:    provider.BodyRules{StreamUsage: true, MaxTokensField: "m", DefaultMaxTokens: 7, Drop: []string{"d"}},
		Errors:  []provider.ErrorRule{{Status: 400, Contains: "c", Class: provider.ClassQuota}},
		Expires: time.Unix(1700000000, 0).UTC(),
	}, nil
}

func (p probe) Call(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	switch req.Operation {
	case "panic":
		panic("a secret")
	case "unavailable":
		return fmt.Errorf("%w: today", provider.ErrUnavailable)
	case "fail":
		return errors.New("no route")
	case "none":
		return nil
	case "read": // a file of the machine
		data, err := os.ReadFile(req.Model)
		if err != nil {
			return err
		}
		return all(answer, data)
	case "write":
		return os.WriteFile(req.Model, []byte("x"), 0o600)
	case "signal":
		return syscall.Kill(os.Getppid(), syscall.SIGCONT)
	case "environ":
		return all(answer, []byte(strings.Join(os.Environ(), "\n")))
	case "limits":
		data, err := os.ReadFile("/proc/self/limits")
		if err != nil {
			return err
		}
		return all(answer, data)
	case "echo":
		return all(answer, req.Body)
	case "endless":
		if err := answer.Head(200, nil); err != nil {
			return err
		}
		defer func() { _ = os.WriteFile(req.Model, []byte("ended"), 0o600) }()
		for i := 0; ctx.Err() == nil; i++ {
			if err := answer.Part(fmt.Append(nil, i)); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return ctx.Err()
	case "paced": // the body's length in parts of 100 bytes, one a 10 milliseconds
		if err := answer.Head(200, nil); err != nil {
			return err
		}
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		chunk := bytes.Repeat([]byte("x"), 100)
		for range req.Body {
			<-pace.C
			if err := answer.Part(chunk); err != nil {
				return err
			}
		}
		return nil
	case "ticks": // what "paced" waits for, without the parts
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for range req.Body {
			<-pace.C
		}
		return all(answer, nil)
	case "count": // the body's length in parts
		if err := answer.Head(200, map[string]string{"k": "v"}); err != nil {
			return err
		}
		for i := range req.Body {
			if err := answer.Part(fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	}
	return attack(ctx, req, answer)
}

// attack does harm until ctx ends, and says how far it came.
func attack(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	switch req.Operation {
	case "hog": // memory until there is none
		var kept [][]byte
		for ctx.Err() == nil {
			block := make([]byte, 16<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			kept = append(kept, block)
		}
		return fmt.Errorf("got %d blocks", len(kept))
	case "bomb": // processes that make processes
		made := 0
		for range 200 {
			cmd := exec.Command("/bin/sh", "-c", "sleep 30 & sleep 30 & sleep 30 & wait")
			if cmd.Start() == nil {
				made++
			}
		}
		return fmt.Errorf("made %d processes", made)
	case "flood": // log
		line := bytes.Repeat([]byte("flood "), 1000)
		for ctx.Err() == nil {
			_, _ = os.Stderr.Write(append(line, '\n'))
		}
		return ctx.Err()
	case "hang":
		hang()
		return nil
	case "garbage":
		return garble()
	case "leave":
		_ = answer.Head(200, nil)
		_ = answer.Part([]byte("x"))
		os.Exit(0)
	case "mute": // no head ever
		<-ctx.Done()
		return ctx.Err()
	case "parts": // as many MiB as the model says
		if err := answer.Head(200, nil); err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(req.Model, &n); err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for range n {
			if err := answer.Part(block); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("unknown operation %q", req.Operation)
}

// hugeServer sends one message of any size.
type hugeServer struct {
	providerv1.UnimplementedProviderServiceServer
}

// hugePlugin registers it.
type hugePlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	server hugeServer
}

func (p *hugePlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	providerv1.RegisterProviderServiceServer(s, p.server)
	return nil
}

func (p *hugePlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.ErrUnsupported
}

func (hugeServer) Describe(context.Context, *providerv1.DescribeRequest) (*providerv1.DescribeResponse, error) {
	return &providerv1.DescribeResponse{Adapters: []*providerv1.Description{{Name: "huge", Version: "1.0.0", Summary: "too much"}}}, nil
}

func (hugeServer) Call(req *providerv1.CallRequest, stream grpc.ServerStreamingServer[providerv1.CallResponse]) error {
	if err := stream.Send(&providerv1.CallResponse{Kind: &providerv1.CallResponse_Head{Head: &providerv1.Head{Status: 200}}}); err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(req.GetModel(), &n); err != nil {
		return err
	}
	if req.GetOperation() == "pieces" { // of one event that never ends
		for range n {
			part := &providerv1.Part{Data: make([]byte, 1<<20), More: true}
			if err := stream.Send(&providerv1.CallResponse{Kind: &providerv1.CallResponse_Part{Part: part}}); err != nil {
				return err
			}
		}
		return nil
	}
	return stream.Send(&providerv1.CallResponse{Kind: &providerv1.CallResponse_Part{Part: &providerv1.Part{Data: make([]byte, n<<20)}}})
}

func all(answer provider.AnswerWriter, data []byte) error {
	if err := answer.Head(200, nil); err != nil {
		return err
	}
	return answer.Part(data)
}

// answers collects an answer.
type answers struct {
	status int
	header map[string]string
	parts  [][]byte
	onPart func(n int) error
}

func (a *answers) Head(status int, header map[string]string) error {
	a.status, a.header = status, header
	return nil
}

func (a *answers) Part(data []byte) error {
	a.parts = append(a.parts, append([]byte(nil), data...))
	if a.onPart != nil {
		return a.onPart(len(a.parts))
	}
	return nil
}

func (a *answers) text() string {
	var b strings.Builder
	for _, p := range a.parts {
		b.Write(p)
	}
	return b.String()
}

// startHost runs a host until the test ends.
func startHost(t testing.TB, config Config) *Host {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	config.Dir = shortDir(t)
	h, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if err := h.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return h
}

// shortDir is a directory whose name leaves room for a socket's, unlike that of t.TempDir.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// within fails the test if the condition does not come true in time, and says how long it took.
func within(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("%s after %s", what, time.Since(began).Round(100*time.Microsecond))
}

func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func ignoreInterrupt() func() {
	signal.Ignore(os.Interrupt)
	return func() { signal.Reset(os.Interrupt) }
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
