package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// Target is what a row is about: the upstream itself or something in front of it.
type Target struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Settings string `json:"settings"`
	Missing  string `json:"missing,omitempty"` // why it was not measured

	peer  bool                                                              // another gateway
	start func(ctx context.Context, dir, upstream string) (*process, error) // nil for the upstream
}

// Names of targets.
const (
	TargetDirect  = "upstream itself"
	TargetNginx   = "nginx"
	TargetProxy   = "bare proxy"
	TargetMinimal = "pointsman minimal"
	TargetGateway = "pointsman full"
)

// targets are what every run compares, cheapest first.
func targets(cfg *Config) []*Target {
	direct := &Target{Name: TargetDirect, Version: "-", Settings: "the load generator without anything in between; the upstream writes prepared bytes"}
	version := strings.TrimSpace(cfg.Version + " " + revision())
	minimal := &Target{
		Name: TargetMinimal, Version: version,
		Settings: "one free model with one deployment, named by the request, so that no credits are held; virtual key, policy in Wasm with fuel, usage log, decision record and metrics stay on, for there is no switch",
		start:    gatewayStart(cfg, func(s *site) { s.minimal = true }),
	}
	full := &Target{
		Name: TargetGateway, Version: version,
		Settings: "virtual key, balanced policy in Wasm with fuel over 47 models, ledger with every commit synced, usage log, decision record, metrics; defaults",
		start:    gatewayStart(cfg, nil),
	}
	return []*Target{direct, nginx(), bareProxy(cfg), minimal, full}
}

// bareProxy is what everything is compared with.
func bareProxy(cfg *Config) *Target {
	return &Target{
		Name: TargetProxy, Version: "fasthttp " + moduleVersion("github.com/valyala/fasthttp") + ", " + runtime.Version(),
		Settings: "a fasthttp server that hands requests to a fasthttp client; defaults",
		start: func(ctx context.Context, _, upstream string) (*process, error) {
			return startPart(ctx, cfg.Binary, "proxy", upstream)
		},
	}
}

// gatewayStart starts a gateway on an empty data directory.
func gatewayStart(cfg *Config, change func(*site)) func(ctx context.Context, dir, upstream string) (*process, error) {
	return func(ctx context.Context, dir, upstream string) (*process, error) {
		s := &site{dir: dir, upstream: upstream}
		if change != nil {
			change(s)
		}
		p, _, err := startGateway(ctx, cfg, s, "")
		return p, err
	}
}

// nginx is the proxy that everybody knows.
func nginx() *Target {
	t := &Target{
		Name:     TargetNginx,
		Settings: "a worker for each core, keep-alive to clients and upstream without limits, proxy_buffering off, no access log",
	}
	binary, err := exec.LookPath("nginx")
	if err != nil { // Debian has it where only root looks
		binary, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Missing = "nginx is not installed; scripts/bench-setup.sh installs it where there is apt-get"
		return t
	}
	t.Version = versionOf(binary, "-v")
	t.start = func(ctx context.Context, dir, upstream string) (*process, error) {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		user := ""
		if os.Getuid() == 0 {
			user = "user root;\n" // its workers write into a directory of ours
		}
		text := fmt.Sprintf(nginxConfig, user, dir, address, strings.TrimPrefix(upstream, "http://"))
		path := filepath.Join(dir, "nginx.conf")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return nil, err
		}
		return startServer(ctx, address, shape{}, startLimit, environment(), binary, "-c", path, "-p", dir, "-e", filepath.Join(dir, "error.log"))
	}
	return t
}

// nginxConfig wants a user line, a directory, its own and the upstream's address.
const nginxConfig = `%[1]sdaemon off;
worker_processes auto;
worker_rlimit_nofile 20000;
pid %[2]s/nginx.pid;
error_log %[2]s/error.log;
events { worker_connections 9000; }
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	keepalive_requests 1000000000;
	client_max_body_size 8m;
	client_body_buffer_size 256k;
	upstream mock { server %[4]s; keepalive 1024; keepalive_requests 1000000000; }
	server {
		listen %[3]s backlog=4096;
		location / {
			proxy_pass http://mock;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_read_timeout 600s;
		}
	}
}
`

// benchKey is what servers are sent that do not make keys of their own.
const benchKey = "sk-bench-0000000000000000"

// startServer runs a server that listens where it is told, and returns when it has answered a chat request.
func startServer(ctx context.Context, address string, s shape, limit time.Duration, env []string, binary string, args ...string) (*process, error) {
	p, err := launch(ctx, binary, env, args...)
	if err != nil {
		return nil, err
	}
	p.address, p.shape, p.key = "http://"+address, s, benchKey
	if err := p.answers(ctx, limit); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: %w%s", filepath.Base(binary), err, p.output.excerpt())
	}
	return p, nil
}

// answers waits until the process has answered a chat request as it should.
func (p *process) answers(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		c := &wire{address: p.hostPort(), deadline: time.Now().Add(limit)}
		err := c.dial(ctx)
		if err == nil {
			err = c.exchange(ctx, chat, chat.request(p))
			c.close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("the process ended")
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", limit, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// freeAddress is a loopback address that nothing listens on at the moment.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

var digits = regexp.MustCompile(`[0-9]+(\.[0-9]+)+`)

// versionOf is the version that a program tells, "unknown" if it does not.
func versionOf(binary string, args ...string) string {
	cmd := exec.Command(binary, args...)
	cmd.Env = environment()
	out, _ := cmd.CombinedOutput()
	if v := digits.FindString(string(out)); v != "" {
		return v
	}
	return "unknown"
}
