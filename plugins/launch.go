package plugins

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/rpc"
)

// searchPath is the only variable a plugin gets unasked: scripts begin with `#!/usr/bin/env`.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// instance is one running process and the connection to it.
type instance struct {
	client   *rpc.Client
	process  *process
	uses     *uses
	protocol *goplugin.Client
	dir      string                 // of the socket; "" before go-plugin has made it
	adapters []provider.Description // sorted by name
}

// launch starts the process of p and returns when it has answered. The instance must be closed.
func launch(ctx context.Context, p *supervised) (_ *instance, err error) {
	inst := &instance{process: newProcess(p), uses: newUses()}
	defer func() {
		if err != nil {
			inst.process.kill()
			inst.close()
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, p.host.config.StartTimeout)
	defer cancel()
	// go-plugin knows no context: ending the process ends whatever go-plugin waits for.
	stop := context.AfterFunc(ctx, inst.process.kill)
	defer stop()

	// Mutual TLS guards against another process of the same user that connects first. The built-in process is on the way
	// to the first request, and nothing but this binary.
	var secure *tls.Config
	var socketEnv []string
	if p.plugin != nil && !p.plugin.PlainSocket {
		config, certificate, err := rpc.MutualTLS()
		if err != nil {
			return nil, err
		}
		secure, socketEnv = config, []string{rpc.ClientCertKey + "=" + certificate}
	}
	inst.protocol = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake(),
		VersionedPlugins: rpc.VersionedPlugins(),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			inst.dir = dir
			return inst.process, inst.process.prepare(p, append(spec.Env, socketEnv...), dir)
		},
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: p.host.dir},
		StartTimeout:     2 * p.host.config.StartTimeout, // ours comes first
		Logger:           hclog.NewNullLogger(),          // what it would say is in the errors
		SyncStdout:       inst.process.log,               // what a plugin prints once its handshake is done
		SyncStderr:       inst.process.log,
		SkipHostEnv:      true, // the gateway's environment holds the providers' keys
		TLSConfig:        secure,
		GRPCDialOptions:  rpc.DialOptions(),
	})
	if _, err := inst.protocol.Start(); err != nil {
		return nil, inst.process.explain(ctx, err)
	}
	conn, err := inst.protocol.Client()
	if err != nil {
		return nil, inst.process.explain(ctx, err)
	}
	if inst.client, err = rpc.Dispense(conn); err != nil {
		return nil, err
	}
	if inst.adapters, err = inst.client.Describe(ctx); err != nil {
		return nil, inst.process.explain(ctx, fmt.Errorf("asking for its adapters: %w", err))
	}
	if err := checkAdapters(inst.adapters); err != nil {
		return nil, err
	}
	// Connected: nobody else needs the socket, and a gateway killed by force leaves no file behind.
	_ = os.RemoveAll(inst.dir)
	return inst, nil
}

// Command returns the command that starts a plugin as the gateway does: what was checked, within its limits. dir is the
// directory for its socket. What go-plugin would add to the environment is missing. After the start done must be called.
// On Linux the process ends with the thread that starts it.
func Command(name string, plugin Plugin, dir string) (cmd *exec.Cmd, done func(), err error) {
	if err := plugin.validate(); err != nil {
		return nil, nil, fmt.Errorf("plugin %q: %w", name, err)
	}
	var once program
	cmd, executable, err := command(name, &plugin, &once, dir)
	once.close()
	if err != nil {
		return nil, nil, err
	}
	return cmd, func() {
		if executable != nil {
			_ = executable.Close() // it was read only
		}
	}, nil
}

// close ends the process, by force if it does not end by itself, and frees everything. It is asked to by go-plugin's call,
// which plugins in other languages need not know, and then by the end of its standard input.
func (i *instance) close() {
	ask := time.AfterFunc(askingTimeout, i.process.hangUp)
	defer ask.Stop()
	force := time.AfterFunc(closingTimeout, i.process.kill)
	defer force.Stop()
	if i.protocol != nil {
		i.protocol.Kill()
	}
	i.process.kill()
	if i.dir != "" {
		_ = os.RemoveAll(i.dir)
	}
}

// broken is closed when the connection is lost, which cannot be made again, for the socket is gone. It is not once ctx has ended.
func (i *instance) broken(ctx context.Context) <-chan struct{} {
	broken := make(chan struct{})
	go func() {
		if i.client.AwaitLoss(ctx) {
			close(broken)
		}
	}()
	return broken
}

func checkAdapters(adapters []provider.Description) error {
	if len(adapters) == 0 {
		return errors.New("it holds no adapters")
	}
	slices.SortFunc(adapters, func(a, b provider.Description) int { return strings.Compare(a.Name, b.Name) })
	valid := regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	for i, a := range adapters {
		if !valid.MatchString(a.Name) {
			return fmt.Errorf("its adapter's name %.64q does not match [a-z0-9-]{1,32}", a.Name)
		}
		if i > 0 && adapters[i-1].Name == a.Name {
			return fmt.Errorf("it holds the adapter %q twice", a.Name)
		}
	}
	return nil
}

// allowedEnv returns the entries of the gateway's environment that the operator allowed by name.
func allowedEnv(names []string) []string {
	var out []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}
