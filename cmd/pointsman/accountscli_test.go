package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestAccountCommands makes and changes teams, accounts and keys by the commands, and reads what came of it.
func TestAccountCommands(t *testing.T) {
	g := newGateway(t, "", nil)
	t.Setenv("POINTSMAN_MASTER_KEY", g.admin.key)
	t.Setenv("POINTSMAN_ADMIN_URL", g.admin.base)
	command := func(status int, line string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(strings.Fields(line), terminal{&out, &errs}); got != status {
			t.Fatalf("%s: status %d, %s%s", line, got, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	shown := func(line string) (out tree) {
		t.Helper()
		if err := json.Unmarshal([]byte(command(0, line)), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	command(0, "teams create red --name Red --budget month=100 --requests-per-minute 600")
	command(0, "accounts create alice --team red --tier starter --overdraft 1.5 --budget day=5:tier=3:suspend --budget day=9")
	key := strings.Fields(command(0, "keys create alice --name ci --expires 720h --models gpt-4o,claude-haiku-5.5 --tiers 0,3 --concurrent-requests 2"))
	id := key[2]
	for _, c := range []struct{ line, show, at, want string }{
		{"teams update red --requests-per-minute none --tokens-per-minute 0", "teams show red", "limits", `{"budgets":[{"credits":"100","period":"month","suspend":false,"tier":null}],"concurrent_requests":null,"requests_per_minute":null,"tokens_per_minute":0}`},
		{"teams disable red --reason closed", "teams show red", "disabled", `"closed"`},
		{"teams enable red", "teams show red", "disabled", `null`},
		{"accounts update alice --budget day=none --budget week=1", "accounts show alice", "limits.budgets", `[{"credits":"5","period":"day","suspend":true,"tier":3},{"credits":"1","period":"week","suspend":false,"tier":null}]`},
		{"accounts update alice --level eco --overdraft none", "accounts show alice", "overdraft", `"0"`},
		{"accounts update alice --team none", "accounts show alice", "team", `null`},
		{"accounts disable alice", "accounts show alice", "disabled", `"disabled by the operator"`},
		{"accounts enable alice", "accounts show alice", "disabled", `null`},
		{"keys update " + id + " --models all --policies none --endpoints chat", "keys show " + id, "scopes", `{"endpoints":["chat"],"models":null,"policies":[],"tiers":[0,3]}`},
		{"keys update " + id + " --budget total=0.5 --name new", "keys show " + id, "limits.budgets.0.credits", `"0.5"`},
		{"keys disable " + id + " --reason lost", "keys show " + id, "disabled", `"lost"`},
		{"keys enable " + id, "keys show " + id, "disabled", `null`},
	} {
		command(0, c.line)
		if got := asJSON(shown(c.show).at(c.at)); got != c.want {
			t.Errorf("%s: %s is %s, want %s", c.line, c.at, got, c.want)
		}
	}
	expires, err := time.Parse(time.RFC3339, shown("keys show " + id)["expires"].(string))
	if left := time.Until(expires); err != nil || left < 719*time.Hour || left > 720*time.Hour {
		t.Errorf("it expires at %v, %v", expires, err)
	}
	command(0, "keys update "+id+" --expires never")
	next := strings.Fields(command(0, "keys rotate "+id+" --overlap 1h"))
	if k := shown("keys show " + next[2]); !strings.HasPrefix(next[0], "pm-") || k["replaces"] != id || k["expires"] != nil {
		t.Errorf("rotated to %v", k)
	}
	for _, c := range []struct{ line, want string }{
		{"teams list", "red   Red"}, {"accounts list", "alice"}, {"keys list --account alice", id},
	} {
		if got := command(0, c.line); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.line, got)
		}
	}
	for _, c := range []struct{ line, want string }{
		{"accounts update alice", "nothing to change"},
		{"accounts update alice --budget 5", "PERIOD=CREDITS"},
		{"accounts update alice --budget day=5:tear=3", "PERIOD=CREDITS"},
		{"accounts update alice --budget year=5", "limits.budgets.2.period"},
		{"teams update red --requests-per-minute many", "--requests-per-minute"},
		{"keys update " + id + " --tiers low", "--tiers"},
		{"keys update " + id + " --expires tomorrow", "--expires"},
		{"keys update key_0 --name x", "not_found"},
	} {
		if got := command(1, c.line); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.line, got)
		}
	}
	command(0, "teams delete red")
}
