package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// suite is the gateway as it is shipped, in a process of its own, with a canary for every secret that it is given, and all that
// it shows to anybody.
type suite struct {
	t       *testing.T
	dir     string
	binary  string
	secrets map[string]string // by what they are
	gateway *exec.Cmd
	up      *scripted.Server
	api     string
	admin   string

	mu     sync.Mutex
	how    int          // the provider answers
	told   bytes.Buffer // answers with their headers, and what commands print
	stdout bytes.Buffer
	stderr bytes.Buffer
	ids    []string
	// conversations are the answers of models; the simulator's hold the prompt, for whoever sent it.
	conversations bytes.Buffer
}

// secret makes a canary.
func (s *suite) secret(what, beginning string) string {
	text := beginning + rand.Text() + strings.ToLower(rand.Text())
	s.secrets[what] = text
	return text
}

// all are the canaries.
func (s *suite) all() (secrets []string) {
	for _, secret := range s.secrets {
		secrets = append(secrets, secret)
	}
	return secrets
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	dir := t.TempDir()
	s := &suite{t: t, dir: dir, binary: buildGateway(t, dir), secrets: map[string]string{}}
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	s.up = up
	up.Script(func(r *scripted.Request) *scripted.Reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		return repeats(r, s.how)
	})
	return s
}

// kek makes a key-encryption key and returns its text.
func (s *suite) kek(what string) string {
	key := make([]byte, 32)
	rand.Read(key)
	s.secrets[what] = hex.EncodeToString(key)
	return s.secrets[what]
}

func (s *suite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *suite) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the configuration, with secrets in all the places that it has for them.
func (s *suite) configure() {
	s.t.Helper()
	for _, name := range []string{"credentials", "run"} {
		if err := os.Mkdir(s.path(name), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	s.write("kek-file", s.kek("the KEK in a file"))
	s.write("credentials/kek", s.kek("the KEK in a credential"))
	s.write("kek-printed", s.kek("the KEK that a command prints"))
	toml := fmt.Sprintf(`[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[catalog]
builtin = false
[vault]
kek = "env:CANARY_KEK"
next_kek = "command:/bin/cat %s"
[policies.eco]
grants = ["features", "text"]
[providers.openai]
base_url = %q
allow_private = true
timeouts = { first_byte = 1, idle = 0.3 }
[providers.direct]
adapter = "openai"
base_url = %q
api_key = %q
allow_private = true
timeouts = { first_byte = 1, idle = 0.3 }
[providers.referred]
adapter = "openai"
base_url = %q
api_key = "${CANARY_REFERRED}"
allow_private = true

[providers.proxied]
adapter = "simulator"
api_key = %q
settings = { pause_ms = "20" }
`, s.path("kek-printed"), s.up.URL()+"/v1", s.up.URL()+"/v1", s.secret("a provider's key in the file", "sk-"), s.up.URL()+"/v1", s.secret("a key of a plugin's provider", "hf_"))
	for _, name := range []string{"openai", "direct", "referred", "proxied"} {
		toml += fmt.Sprintf("[[models]]\nname = \"m-%s\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n[[models.deployments]]\nprovider = %q\nupstream = \"x\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n", name, name)
	}
	s.write("pointsman.toml", toml)
}

// environment is that of the gateway and of the commands, which each use some of it.
func (s *suite) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "GOTRACEBACK=crash", "CREDENTIALS_DIRECTORY=" + s.path("credentials"),
		"POINTSMAN_MASTER_KEY=" + s.secrets["the master key"], "CANARY_KEK=" + s.secrets["the KEK in the environment"],
		"OPENAI_API_KEY=" + s.secrets["a provider's key in the environment"], "CANARY_REFERRED=" + s.secrets["a provider's key that the file refers to"],
		"CANARY_HOOK=" + s.secrets["a secret of a policy"],
	}
}

// start starts the gateway and takes note of the key that it shows once.
func (s *suite) start() (firstKey string) {
	s.t.Helper()
	s.gateway = exec.Command(s.binary, "serve", "--config", s.path("pointsman.toml"), "--data", s.path("data"), "--log", "debug")
	s.gateway.Env, s.gateway.Dir = s.environment(), s.path("run")
	s.gateway.Stderr = &s.stderr
	out, err := s.gateway.StdoutPipe()
	if err == nil {
		err = s.gateway.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.gateway.ProcessState == nil {
			s.gateway.Process.Kill()
			s.gateway.Wait()
		}
	})
	limit := time.AfterFunc(20*time.Second, func() { s.gateway.Process.Kill() })
	defer limit.Stop()
	key := regexp.MustCompile(`pm-[0-9a-f]{20,}`)
	lines := bufio.NewReader(out)
	for s.admin == "" || firstKey == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the gateway did not come up: %v\n%s", err, s.stderr.String())
		}
		if found := key.FindString(line); found != "" {
			firstKey = found // and what it says of it is meant to be seen
			continue
		}
		s.stdout.WriteString(line)
		if found := bannerAddress.FindStringSubmatch(line); found != nil && found[1] == "api" {
			s.api = found[2]
		} else if found != nil {
			s.admin = found[2]
		}
	}
	go io.Copy(io.Discard, lines) //nolint:errcheck // an example with the key, for the operator
	return firstKey
}

// send makes a request and takes in all of the answer.
func (s *suite) send(from *client, method, path string, body any) {
	s.t.Helper()
	resp, err := from.do(method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // a stream that is cut is part of it
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.told, "%s %s: %s\n", method, path, resp.Status)
	resp.Header.Write(&s.told) //nolint:errcheck // to memory
	if resp.StatusCode == http.StatusOK && strings.HasPrefix(path, "/v1/") {
		s.conversations.Write(text)
	} else {
		s.told.Write(text)
	}
	if path == chatPath {
		s.ids = append(s.ids, resp.Header.Get("X-Request-Id"))
	}
}

// command runs one of the binary's commands and takes in what it prints.
func (s *suite) command(args ...string) {
	s.t.Helper()
	cmd := exec.Command(s.binary, args...)
	cmd.Env = append(s.environment(), "POINTSMAN_ADMIN_URL="+s.admin, "POINTSMAN_URL="+s.api, "POINTSMAN_DATA="+s.path("data"))
	out, _ := cmd.CombinedOutput() // some fail, and what they say then is of interest too
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.told, "%v: %s\n", args, out)
}

func (s *suite) behave(how int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = how
}

// every calls every operation of a document with bodies that are none, with the right key, which is the first, and with wrong ones.
func (s *suite) every(base string, keys ...string) {
	s.t.Helper()
	resp, err := newClient(base, "").do("GET", "/openapi.json", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	operations, _ := readDocument(s.t, text)
	secret := s.secrets["a provider's key that was mistyped"]
	parameter := regexp.MustCompile(`\{[^}]*\}`)
	for _, op := range operations {
		for i, key := range keys {
			for j, body := range []string{"{", "", `{"key":"` + secret + `\u0000"}`, `{"` + secret + `":1}`, `{"model":"` + secret + `","messages":[{"role":"user","content":"` + s.secrets["a prompt"] + `"}],"x":`, `[]`} {
				for _, part := range []string{"openai", "x"} {
					if i > 0 && j > 0 || part == "x" && !strings.Contains(op.path, "{") {
						break // a wrong key is refused before all that
					}
					s.send(newClient(base, key), op.method, parameter.ReplaceAllString(op.path, part), []byte(body))
				}
			}
		}
	}
}

// talk sends conversations to all providers while they answer in every way, by the platform's keys and by own ones.
func (s *suite) talk(from *client) {
	prompt := map[string]any{"messages": user(s.secrets["a prompt"]), "max_tokens": 100}
	for how := range 12 {
		s.behave(how)
		for i, model := range []string{"m-openai", "m-direct", "m-referred", "m-proxied", "eco"} {
			body := map[string]any{"model": model, "stream": (how+i)%2 == 0}
			for name, value := range prompt {
				body[name] = value
			}
			s.send(from, "POST", chatPath, body)
			if how < 2 {
				s.send(from, "POST", "/v1/messages", body)
				s.send(from, "POST", "/v1/responses", map[string]any{"model": model, "input": s.secrets["a prompt"]})
				s.send(from, "POST", "/v1/embeddings", map[string]any{"model": model, "input": s.secrets["a prompt"]})
			}
		}
	}
	s.behave(0)
}

// B1: no secret that the gateway is given, and no prompt, is ever seen again: in logs, answers, headers, metrics, decisions,
// what commands print, stack dumps, the arguments and environments of processes, the data directory or a copy of it.
func TestCanarySuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for what, beginning := range map[string]string{
		"the master key": "sk-pointsman-", "a provider's key in the environment": "sk-proj-", "a provider's key that the file refers to": "gsk_",
		"a secret of a policy": "whsec-", "an own key": "sk-or-v1-", "an own key that is replaced": "sk-ant-", "an own key that is deleted": "AIza",
		"a provider's key that was mistyped": "sk-bad-", "a virtual key that is none": "pm-", "a prompt": "My password is ",
	} {
		s.secret(what, beginning)
	}
	s.kek("the KEK in the environment")
	s.configure()
	whole, err := os.ReadFile(s.path("pointsman.toml"))
	if err != nil {
		t.Fatal(err)
	}
	refused := "[policies.eco.config]\nwebhook_token = \"${CANARY_HOOK}\"\n" // eco knows no such parameter, and says so
	s.write("refused.toml", string(whole)+refused)
	s.command("serve", "--config", s.path("refused.toml"), "--data", s.path("data"), "--log", "debug")
	if !strings.Contains(s.told.String(), "webhook_token=…") {
		t.Errorf("the policy's refusal is not what it was: %s", s.told.String())
	}
	first := s.start()
	s.secrets["the first virtual key"] = first

	operator := newClient(s.admin, s.secrets["the master key"])
	var made keyEntry
	if err := operator.call("POST", "/api/v1/admin/accounts", map[string]string{"id": "owner"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := operator.call("POST", "/api/v1/admin/keys", map[string]string{"account": "owner"}, &made); err != nil {
		t.Fatal(err)
	}
	s.secrets["a virtual key"] = made.Key
	platform, owner := newClient(s.api, first), newClient(s.api, made.Key)

	s.talk(platform)
	for _, provider := range []string{"openai", "direct", "referred", "proxied"} {
		for _, what := range []string{"an own key that is replaced", "an own key"} {
			s.send(owner, "PUT", "/api/v1/llm/byok/"+provider, map[string]string{"key": s.secrets[what]})
		}
		s.send(owner, "POST", "/api/v1/llm/byok/"+provider+"/test", nil)
	}
	s.talk(owner)
	s.send(owner, "PUT", "/api/v1/llm/byok/direct", map[string]string{"key": s.secrets["an own key that is deleted"]})
	s.send(owner, "POST", chatPath, ask("m-direct"))
	s.send(owner, "DELETE", "/api/v1/llm/byok/direct", nil)
	for _, to := range []string{"file:" + s.path("kek-file"), "credential:kek", "env:CANARY_HOOK", "command:/bin/cat " + s.path("kek-printed")} {
		s.command("vault", "rotate", "--to", to)
	}
	s.crashPlugins()
	wrong := s.secrets["a virtual key that is none"]
	s.every(s.api, made.Key, wrong, s.secrets["the master key"])
	s.every(s.admin, s.secrets["the master key"], wrong, made.Key)
	s.gateway.Process.Signal(syscall.SIGHUP) //nolint:errcheck // it runs
	for _, id := range s.ids {
		s.send(owner, "GET", "/api/v1/llm/decisions/"+id, nil)
		s.send(operator, "GET", "/api/v1/admin/decisions/"+id, nil)
	}
	for _, path := range []string{"/metrics", "/health", "/api/v1/admin/usage?limit=1000", "/api/v1/admin/status", "/api/v1/admin/vault"} {
		s.send(operator, "GET", path, nil)
	}
	for _, args := range [][]string{
		{"doctor", "--config", s.path("pointsman.toml")},
		{"config", "check", s.path("pointsman.toml")},
		{"vault", "status"},
		{"vault", "check"},
		{"keys", "list"},
		{"accounts", "list"},
		{"plugin", "list", "--config", s.path("pointsman.toml")},
	} {
		s.command(args...)
	}
	s.processes()
	backup := s.path("backup")
	if err := os.CopyFS(backup, os.DirFS(s.path("data"))); err != nil {
		t.Fatal(err)
	}
	s.dump()
	s.judge(backup)
}

// crashPlugins kills the process of the adapters in the middle of a call, with a dump of its stacks.
func (s *suite) crashPlugins() {
	s.t.Helper()
	for _, pid := range s.children() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.send(newClient(s.api, s.secrets["a virtual key"]), "POST", chatPath, ask("m-proxied", "stream", true))
		}()
		time.Sleep(40 * time.Millisecond)
		syscall.Kill(pid, syscall.SIGQUIT) //nolint:errcheck // it may have ended
		<-done
	}
	for deadline := time.Now().Add(5 * time.Second); len(s.children()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the plugins did not come back")
		}
	}
}

// children are the processes that the gateway has started.
func (s *suite) children() (pids []int) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.gateway.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread may have ended
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// processes looks at the gateway's processes: none has a secret among its arguments, no child has one in its environment, and
// none leaves a core file.
func (s *suite) processes() {
	s.t.Helper()
	pids := append(s.children(), s.gateway.Process.Pid)
	if len(pids) < 2 {
		s.t.Error("there is no child to look at")
	}
	for _, pid := range pids {
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
			if name == "environ" && pid == s.gateway.Process.Pid {
				continue // it was given them there
			}
			if err != nil && os.Getuid() == 0 {
				s.t.Error(err)
			}
			if found := finds(text, s.all()...); found != "" {
				s.t.Errorf("%s is in the %s of process %d", found, name, pid)
			}
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
			s.t.Errorf("process %d may leave a core file: %v\n%s", pid, err, limits)
		}
		if os.Getuid() == 0 {
			continue // to root every process is open
		}
		if _, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid)); err == nil {
			s.t.Errorf("the memory of process %d is open to other processes of its user", pid)
		}
	}
}

// dump ends the gateway with a dump of its stacks, and as if that was to leave a core file.
func (s *suite) dump() {
	s.t.Helper()
	if err := s.gateway.Process.Signal(syscall.SIGQUIT); err != nil {
		s.t.Fatal(err)
	}
	s.gateway.Wait() //nolint:errcheck // it fails, by a signal
	if status, ok := s.gateway.ProcessState.Sys().(syscall.WaitStatus); !ok || status.CoreDump() || !status.Signaled() {
		s.t.Errorf("the gateway ended with %v", s.gateway.ProcessState)
	}
	if !strings.Contains(s.stderr.String(), "goroutine ") {
		s.t.Error("there is no dump of stacks to look at")
	}
	if left, err := os.ReadDir(s.path("run")); err != nil || len(left) > 0 {
		s.t.Errorf("in its working directory is %v, %v", left, err)
	}
}

// judge searches all of it.
func (s *suite) judge(backup string) {
	s.t.Helper()
	if len(s.ids) < 100 || s.told.Len() < 500_000 || s.stderr.Len() < 50_000 {
		s.t.Errorf("%d requests, %d bytes told, %d bytes of log: too little to mean anything", len(s.ids), s.told.Len(), s.stderr.Len())
	}
	names := map[string]string{}
	for what, secret := range s.secrets {
		names[secret] = what
	}
	for place, text := range map[string][]byte{"an answer": s.told.Bytes(), "a conversation": s.conversations.Bytes(), "the log": s.stderr.Bytes(), "the banner": s.stdout.Bytes()} {
		for _, secret := range s.all() {
			if finds(text, secret) == "" || place == "a conversation" && names[secret] == "a prompt" {
				continue
			}
			at := slices.IndexFunc(forms(secret), func(form string) bool { return bytes.Contains(text, []byte(form)) })
			form := forms(secret)[at]
			i := bytes.Index(text, []byte(form))
			s.t.Errorf("%s is in %s: …%q", names[secret], place, text[max(0, i-200):min(len(text), i+len(form)+50)])
		}
	}
	for _, dir := range []string{s.path("data"), backup} {
		for _, hit := range search(s.t, dir, s.all()...) {
			s.t.Errorf("in the data directory: %s", hit)
		}
	}
	s.t.Logf("%d secrets, %d requests, %d bytes told, %d bytes of log", len(s.secrets), len(s.ids), s.told.Len(), s.stderr.Len())
}

// The process that forbids dumps can neither be attached to nor leave a core file.
func TestForbidDumps(t *testing.T) {
	if err := forbidDumps(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) //nolint:errcheck // only tests of other things would fail
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	var limit unix.Rlimit
	if err != nil || unix.Getrlimit(unix.RLIMIT_CORE, &limit) != nil || dumpable != 0 || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("dumpable %d, core files %d and %d, %v", dumpable, limit.Cur, limit.Max, err)
	}
}
