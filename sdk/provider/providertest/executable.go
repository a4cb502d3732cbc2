package providertest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
)

// Executable is a plugin's program, in any language.
type Executable struct {
	Path string
	Args []string
	Env  []string // entries NAME=value that it gets beside PATH and what the handshake needs
	// PlainSocket leaves out mutual TLS.
	PlainSocket bool
	// StartTimeout bounds the time to the handshake line; 0 means 10 s.
	StartTimeout time.Duration
	// Command, if given, makes the command in place of Path, Args and Env; dir is where the socket must be. done is
	// called after the start.
	Command func(dir string) (cmd *exec.Cmd, done func(), err error)
}

// Process is a started plugin. It is a [Plugin]. Close must be called.
type Process struct {
	*rpc.Client
	Protocol int           // the version that was agreed on
	Secure   bool          // by mutual TLS
	Took     time.Duration // to the handshake line

	descriptions []provider.Description
	conn         *grpc.ClientConn
	tls          *tls.Config
	cmd          *exec.Cmd
	stdin        io.Closer
	stderr       *tail
	socket, dir  string
	ended        chan struct{} // closed when the process has
	err          error         // how, after ended
}

// Start starts the program as the gateway does and asks for its adapters.
func (x Executable) Start(ctx context.Context) (*Process, error) { return x.start(ctx, "1") }

// start offers the given protocol versions.
func (x Executable) start(ctx context.Context, versions string) (_ *Process, err error) {
	if x.StartTimeout == 0 {
		x.StartTimeout = 10 * time.Second
	}
	dir, err := os.MkdirTemp("", "pm-kit-")
	if err != nil {
		return nil, err
	}
	p := &Process{dir: dir, stderr: &tail{}, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	env := []string{
		rpc.CookieKey + "=" + rpc.CookieValue, "PLUGIN_PROTOCOL_VERSIONS=" + versions, "PLUGIN_UNIX_SOCKET_DIR=" + dir,
		"PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000", rpc.WatchKey + "=stdin",
	}
	if !x.PlainSocket {
		config, certificate, err := rpc.MutualTLS()
		if err != nil {
			return nil, err
		}
		p.tls = config
		env = append(env, rpc.ClientCertKey+"="+certificate)
	}
	began := time.Now()
	stdout, err := p.run(x, env)
	if err != nil {
		return nil, err
	}
	line, err := firstLine(ctx, stdout, x.StartTimeout)
	if err != nil {
		return nil, p.explain(err)
	}
	p.Took = time.Since(began)
	if err := p.handshake(line); err != nil {
		return nil, p.explain(err)
	}
	return p, p.connect(ctx, x.StartTimeout)
}

// run starts the process and returns its standard output.
func (p *Process) run(x Executable, env []string) (io.Reader, error) {
	cmd, done, err := x.command(p.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	cmd.Env = append(cmd.Env, env...)
	ownGroup(cmd)
	cmd.Stderr = p.stderr
	cmd.WaitDelay = time.Second
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	cmd.Stdout = in
	stdin, err := cmd.StdinPipe()
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		_ = out.Close()
		return nil, err
	}
	p.cmd, p.stdin = cmd, stdin
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
		time.AfterFunc(time.Second, func() { _ = out.Close() })
	}()
	return out, nil
}

func (x Executable) command(dir string) (*exec.Cmd, func(), error) {
	if x.Command != nil {
		return x.Command(dir)
	}
	path, err := filepath.Abs(x.Path)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, x.Args...)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, x.Env...)
	return cmd, func() {}, nil
}

// firstLine reads the handshake line, and keeps reading after it.
func firstLine(ctx context.Context, from io.Reader, limit time.Duration) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		in := bufio.NewReaderSize(from, 64<<10)
		line, err := in.ReadSlice('\n')
		read <- result{string(line), err}
		_, _ = io.Copy(io.Discard, in)
	}()
	select {
	case r := <-read:
		if r.err != nil {
			return "", fmt.Errorf("its standard output ended without the handshake line: %.200q", r.line)
		}
		return strings.TrimSuffix(r.line, "\n"), nil
	case <-time.After(limit):
		return "", fmt.Errorf("no handshake line within %s; is standard output buffered?", limit)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// handshake reads the line that a plugin begins with.
func (p *Process) handshake(line string) error {
	fields := strings.Split(line, "|")
	if len(fields) < 5 {
		return fmt.Errorf("%.200q is not the handshake line CORE|PROTOCOL|unix|SOCKET|grpc|CERTIFICATE", line)
	}
	if _, err := fmt.Sscanf(fields[1], "%d", &p.Protocol); err != nil || fields[0] != "1" || p.Protocol != rpc.ProtocolVersion {
		return fmt.Errorf("core version %.10q, protocol %.10q: the gateway speaks 1 and %d", fields[0], fields[1], rpc.ProtocolVersion)
	}
	inside, err := filepath.Rel(p.dir, fields[3])
	if fields[2] != "unix" || fields[4] != "grpc" || err != nil || !filepath.IsLocal(inside) {
		return fmt.Errorf("%s at %.200q speaking %.20q: it must be grpc on a unix socket in PLUGIN_UNIX_SOCKET_DIR", fields[2], fields[3], fields[4])
	}
	p.socket = fields[3]
	certificate := ""
	if len(fields) > 5 {
		certificate = fields[5]
	}
	if p.tls == nil {
		return nil
	}
	if certificate == "" {
		return errors.New("it was given a certificate in PLUGIN_CLIENT_CERT and told none of its own: mutual TLS is missing (or configure mtls = false)")
	}
	der, err := base64.RawStdEncoding.DecodeString(certificate)
	if err != nil {
		return fmt.Errorf("its certificate is not base64 of DER without padding: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	p.tls.RootCAs.AddCert(parsed)
	p.Secure = true
	return nil
}

// connect makes the client and asks for the adapters.
func (p *Process) connect(ctx context.Context, limit time.Duration) error {
	var secure credentials.TransportCredentials = insecure.NewCredentials()
	if p.tls != nil {
		secure = tlsCredentials(p.tls)
	}
	conn, err := p.dial(secure)
	if err != nil {
		return err
	}
	p.conn, p.Client = conn, rpc.NewClient(conn)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if p.descriptions, err = p.Describe(ctx); err != nil {
		return p.explain(fmt.Errorf("asking for its adapters: %w", err))
	}
	return nil
}

func (p *Process) dial(secure credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///plugin", append(rpc.DialOptions(),
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		}))...)
}

func tlsCredentials(config *tls.Config) credentials.TransportCredentials {
	return credentials.NewTLS(config)
}

// Descriptions returns what the adapters say about themselves.
func (p *Process) Descriptions() []provider.Description { return p.descriptions }

// Close ends the process as the gateway does, by the end of its standard input, and by force after 2 s. The error tells
// that force was needed.
func (p *Process) Close() error {
	defer func() { _ = os.RemoveAll(p.dir) }()
	if p.conn != nil {
		_ = p.conn.Close()
	}
	if p.cmd == nil {
		return nil
	}
	_ = p.stdin.Close()
	var err error
	select {
	case <-p.ended:
	case <-time.After(2 * time.Second):
		err = errors.New("it did not end within 2 s after its standard input had")
	}
	if left := killGroup(p.cmd.Process); left && err == nil {
		err = errors.New("it left processes behind")
	}
	<-p.ended
	return err
}

// explain adds the plugin's last words to an error.
func (p *Process) explain(err error) error {
	select {
	case <-p.ended:
		if p.err != nil {
			err = fmt.Errorf("%w; it ended: %w", err, p.err)
		}
	case <-time.After(100 * time.Millisecond):
	}
	if words := p.stderr.String(); words != "" {
		return fmt.Errorf("%w; it said: %s", err, words)
	}
	return err
}

// tail keeps the end of what a plugin prints on its standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 600

// Write never fails.
func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, data...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(data), nil
}

// String returns the end of the output.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
