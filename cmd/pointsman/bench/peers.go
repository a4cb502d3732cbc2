package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// peerLimit is how long another gateway may take to answer its first request.
const peerLimit = 3 * time.Minute

// peers are the other gateways, as scripts/bench-setup.sh installs them, each with what its documentation has for a plain
// start: one model at one provider, no database, no accounts. None if cfg names no directory.
func peers(cfg *Config) []*Target {
	if cfg.Peers == "" {
		return nil
	}
	dir, err := filepath.Abs(cfg.Peers)
	if err != nil {
		dir = cfg.Peers
	}
	list := []*Target{smg(dir), portkey(dir), liteLLM(dir), {
		Name: "Bifrost", Version: "-",
		Missing: "its package on npm downloads the program from elsewhere when it is started, and its Go modules have no released version on the module proxy",
	}}
	for _, t := range list {
		t.peer = true
	}
	return list
}

// peer is a target whose program has to be there.
func peer(t *Target, program string, start func(ctx context.Context, dir, address, upstream string) (*process, error)) *Target {
	if _, err := os.Stat(program); err != nil {
		t.Missing = "it is not installed: scripts/bench-setup.sh peers"
		return t
	}
	t.start = func(ctx context.Context, dir, upstream string) (*process, error) {
		address, err := freeAddress()
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err != nil {
			return nil, err
		}
		return start(ctx, dir, address, upstream)
	}
	return t
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// smg is written in Rust and comes as a Python package.
func smg(dir string) *Target {
	program := filepath.Join(dir, "smg", "bin", "smg")
	t := &Target{
		Name: "SMG", Version: pythonPackage(filepath.Join(dir, "smg"), "smg"),
		Settings: "smg launch --backend openai with one worker, health checks and history off, log level error; no keys, no accounts",
	}
	return peer(t, program, func(ctx context.Context, dir, address, upstream string) (*process, error) {
		metrics, err := freeAddress()
		if err != nil {
			return nil, err
		}
		return startServer(ctx, address, shape{}, peerLimit, environment(), program, "launch", "--host", "127.0.0.1", "--port", port(address),
			"--worker-urls", upstream, "--backend", "openai", "--prometheus-host", "127.0.0.1", "--prometheus-port", port(metrics),
			"--log-level", "error", "--disable-health-check", "--history-backend", "none", "--max-concurrent-requests", "-1")
	})
}

// portkey runs on Node.
func portkey(dir string) *Target {
	root := filepath.Join(dir, "portkey", "node_modules", "@portkey-ai", "gateway")
	var about struct{ Version string }
	text, _ := os.ReadFile(filepath.Join(root, "package.json")) // an unknown version is no reason not to measure
	json.Unmarshal(text, &about)                                //nolint:errcheck // likewise
	t := &Target{
		Name: "Portkey", Version: about.Version + ", node " + versionOf("node", "--version"),
		Settings: "start-server.js --headless, NODE_ENV=production, provider and its address in headers; no keys, no log",
	}
	program := filepath.Join(root, "build", "start-server.js")
	return peer(t, program, func(ctx context.Context, _, address, upstream string) (*process, error) {
		s := shape{headers: "x-portkey-provider: openai\r\nx-portkey-custom-host: " + upstream + "/v1\r\n"}
		env := append(environment(), "NODE_ENV=production", "TRUSTED_CUSTOM_HOSTS=127.0.0.1,localhost")
		return startServer(ctx, address, s, peerLimit, env, "node", program, "--headless", "--port="+port(address))
	})
}

// liteLLM is written in Python.
func liteLLM(dir string) *Target {
	program := filepath.Join(dir, "litellm", "bin", "litellm")
	t := &Target{
		Name: "LiteLLM", Version: pythonPackage(filepath.Join(dir, "litellm"), "litellm"),
		Settings: "litellm --num_workers 1, a master key, one model, no database, log level error",
	}
	return peer(t, program, func(ctx context.Context, dir, address, upstream string) (*process, error) {
		config := filepath.Join(dir, "config.yaml")
		text := fmt.Sprintf("model_list:\n  - model_name: bench-1\n    litellm_params:\n      model: openai/bench-1\n      api_base: %s/v1\n      api_key: sk-bench\n"+
			"litellm_settings:\n  telemetry: false\ngeneral_settings:\n  master_key: %s\n", upstream, benchKey)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		env := append(environment(), "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR", "NO_DOCS=True")
		return startServer(ctx, address, shape{}, peerLimit, env, program, "--config", config, "--host", "127.0.0.1", "--port", port(address), "--num_workers", "1")
	})
}

// pythonPackage is the version of a package in a virtual environment, and that of Python.
func pythonPackage(venv, name string) string {
	found, err := filepath.Glob(filepath.Join(venv, "lib", "python*", "site-packages", name+"-*.dist-info"))
	if err != nil || len(found) != 1 {
		return "unknown"
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), name+"-"), ".dist-info")
	return version + ", python " + versionOf(filepath.Join(venv, "bin", "python"), "--version")
}
