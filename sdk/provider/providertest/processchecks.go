package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

// TestExecutable runs the checks of a program and those of its adapters as subtests.
func TestExecutable(t *testing.T, x Executable, cases ...Case) {
	t.Helper()
	for _, r := range CheckExecutable(context.Background(), x) {
		t.Run("process/"+r.Name, r.report)
	}
	p, err := x.Start(context.Background())
	if err != nil {
		return // it was reported
	}
	defer p.Close() //nolint:errcheck // how it ends was checked
	for _, c := range cases {
		Test(t, p, c)
	}
}

// CheckExecutable runs all checks of how a program starts, answers and ends, in a fixed order. If it does not start
// there is only the first result.
func CheckExecutable(ctx context.Context, x Executable) []Result {
	runtime.LockOSThread() // on Linux a process started by Command may end with the thread
	defer runtime.UnlockOSThread()
	p, err := x.Start(ctx)
	if err != nil {
		return []Result{{Name: "handshake", Err: err}}
	}
	socket := "plain"
	if p.Secure {
		socket = "mutual TLS"
	}
	results := []Result{{Name: "handshake", Note: fmt.Sprintf("protocol %d, %s, after %d ms", p.Protocol, socket, p.Took.Milliseconds())}}
	note := func(name, note string, err error) {
		var skip errSkip
		if errors.As(err, &skip) {
			results = append(results, Result{Name: name, Skipped: skip.reason})
			return
		}
		results = append(results, Result{Name: name, Note: note, Err: err})
	}
	adapters, err := p.adapters()
	note("adapters", adapters, err)
	for _, c := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"health", p.healthy},
		{"unknown-adapter", p.unknownAdapter},
		{"unknown-method", p.unknownMethod},
		{"garbage-message", p.garbageMessage},
		{"garbage-on-the-socket", p.garbageSocket},
		{"strangers-are-refused", p.strangers},
		{"big-request", p.bigRequest},
		{"interrupt-is-ignored", p.interrupted},
	} {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := c.run(limited)
		cancel()
		if err == nil {
			err = p.stillThere(ctx)
		}
		note(c.name, "", err)
	}
	began := time.Now()
	err = p.Close()
	note("ends-with-the-gateway", fmt.Sprintf("%d ms after its standard input, no process left", time.Since(began).Milliseconds()), err)
	note("older-gateways-and-newer", "offered versions 1 and 2, took 1", x.negotiate(ctx))
	note("not-started-by-hand", "", x.byHand())
	return results
}

func (p *Process) adapters() (string, error) {
	if len(p.descriptions) == 0 {
		return "", errors.New("it holds no adapters")
	}
	valid := regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	seen := map[string]bool{}
	var names []string
	for _, d := range p.descriptions {
		if !valid.MatchString(d.Name) || seen[d.Name] {
			return "", fmt.Errorf("the adapter's name %.64q is held twice or does not match [a-z0-9-]{1,32}", d.Name)
		}
		seen[d.Name] = true
		names = append(names, d.Name+" "+d.Version)
	}
	return strings.Join(names, ", "), nil
}

// stillThere tells whether the process survived a check.
func (p *Process) stillThere(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.explain(errors.New("the process ended"))
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := p.Ping(ctx); err != nil {
		return p.explain(fmt.Errorf("afterwards the process does not answer: %w", err))
	}
	return nil
}

func (p *Process) healthy(ctx context.Context) error {
	got, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc.health.v1.Health says %v, %w, not SERVING for the service \"plugin\"", got.GetStatus(), err)
	}
	return nil
}

func (p *Process) unknownAdapter(ctx context.Context) error {
	const nobody = "no-such-adapter"
	if _, err := p.Prepare(ctx, nobody, &provider.PrepareRequest{}); !errors.Is(err, provider.ErrUnknownAdapter) {
		return fmt.Errorf("preparing an unknown adapter: %v, not NOT_FOUND", err)
	}
	if err := p.Call(ctx, nobody, &provider.CallRequest{}, &recorder{}); !errors.Is(err, provider.ErrUnknownAdapter) {
		return fmt.Errorf("calling an unknown adapter: %v, not NOT_FOUND", err)
	}
	return nil
}

// unknownMethod calls what a later version of the protocol may bring.
func (p *Process) unknownMethod(ctx context.Context) error {
	err := p.conn.Invoke(ctx, "/pointsman.provider.v1.ProviderService/OfALaterVersion", &providerv1.DescribeRequest{}, &providerv1.DescribeResponse{})
	if status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("an unknown method: %v, not UNIMPLEMENTED", err)
	}
	return nil
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

// Marshal returns the bytes.
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal keeps the bytes.
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// Name is that of protobuf: the plugin must take the bytes for a message.
func (rawCodec) Name() string { return "proto" }

func (p *Process) garbageMessage(ctx context.Context) error {
	junk, answer := bytes.Repeat([]byte{0xff}, 100), []byte{}
	err := p.conn.Invoke(ctx, providerv1.ProviderService_Prepare_FullMethodName, &junk, &answer, grpc.ForceCodec(rawCodec{}))
	if err == nil || ctx.Err() != nil {
		return fmt.Errorf("bytes that are no message: %v, not an error at once", err)
	}
	return nil
}

func (p *Process) garbageSocket(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.socket)
	if err != nil {
		return fmt.Errorf("a second connection: %w", err)
	}
	defer func() { _ = conn.Close() }()
	junk := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(junk)
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write(junk) // it may be refused at any point
	_, _ = io.Copy(io.Discard, conn)
	return nil
}

// strangers connects as another process of the same user could.
func (p *Process) strangers(ctx context.Context) error {
	if !p.Secure {
		return errSkip{"there is no mutual TLS"}
	}
	conn, err := p.dial(insecure.NewCredentials())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := rpc.NewClient(conn).Describe(ctx); err == nil {
		return errors.New("a connection without TLS was answered")
	}
	withoutKey := p.tls.Clone()
	withoutKey.Certificates = nil
	second, err := p.dial(tlsCredentials(withoutKey))
	if err != nil {
		return err
	}
	defer func() { _ = second.Close() }()
	again, cancelAgain := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancelAgain()
	if _, err := rpc.NewClient(second).Describe(again); err == nil {
		return errors.New("a connection without the gateway's certificate was answered")
	}
	return nil
}

// bigRequest sends more than gRPC takes by default.
func (p *Process) bigRequest(ctx context.Context) error {
	for _, size := range []int{5 << 20, 20 << 20} {
		for _, d := range p.descriptions {
			req := &provider.PrepareRequest{Provider: "conformance", Settings: map[string]string{"no_such_setting": strings.Repeat("x", size)}}
			if _, err := p.Prepare(ctx, d.Name, req); errors.Is(err, provider.ErrTooLarge) || errors.Is(err, provider.ErrUnavailable) || ctx.Err() != nil {
				return fmt.Errorf("a request of %d MiB: %w; messages of up to 32 MiB must be taken, gRPC's default is 4", size>>20, err)
			}
		}
	}
	return nil
}

func (p *Process) interrupted(context.Context) error {
	if !interrupt(p.cmd.Process) {
		return errSkip{"an interrupt cannot be sent here"}
	}
	select {
	case <-p.ended:
		return errors.New("an interrupt ended it: Ctrl-C in the gateway's terminal is the gateway's business")
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// negotiate starts the program as a newer gateway would, which knows a later version too.
func (x Executable) negotiate(ctx context.Context) error {
	p, err := x.start(ctx, "2,1")
	if err != nil {
		return err
	}
	return p.Close()
}

// byHand starts the program as a person would who does not know what it is.
func (x Executable) byHand() error {
	cmd, done, err := x.command("/nowhere")
	if err != nil {
		return err
	}
	defer done()
	ownGroup(cmd)
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if failed := new(exec.ExitError); errors.As(err, &failed) {
			return nil
		}
		return errors.New("without " + rpc.CookieKey + " in its environment it ended with the status 0; it should say what it is and fail")
	case <-time.After(5 * time.Second):
		killGroup(cmd.Process)
		<-ended
		return errors.New("without " + rpc.CookieKey + " in its environment it stayed; it should say what it is and fail")
	}
}
