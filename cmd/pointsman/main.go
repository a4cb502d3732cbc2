// Command pointsman is the gateway and its tools in one binary: serve, demo, doctor, reload, policy, plugin, accounts, teams, keys, vault, ledger, backup,
// explain, replay, records, outcomes, usage, catalog, config, bench, version.
//
// The same binary is also the process of the built-in provider adapters, and the one that compiles policies: the gateway
// starts itself once more for them.
package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/pointsman/pointsman/cmd/pointsman/bench"
	"github.com/pointsman/pointsman/plugins/builtin"
)

// version is set by the release build.
var version = "dev"

// cli is the command line. Flags that --help shows an environment variable for can also be set by that.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the gateway. Works without a config file and without provider keys."`
	Demo     demoCmd     `cmd:"" help:"Show the whole idea in five seconds: four power levels route, stream, charge and explain themselves."`
	Doctor   doctorCmd   `cmd:"" help:"Run ten checks on a running gateway or a data directory."`
	Reload   reloadCmd   `cmd:"" help:"Let a running gateway read its configuration again, as SIGHUP does."`
	Policy   policyCmd   `cmd:"" help:"Write, test, measure, sign and deploy routing policies."`
	Plugin   pluginCmd   `cmd:"" help:"Start, check, try and list provider plugins."`
	Accounts accountsCmd `cmd:"" help:"Create, list and change accounts, grant credits."`
	Teams    teamsCmd    `cmd:"" help:"Create, list and change teams of accounts."`
	Keys     keysCmd     `cmd:"" help:"Create, list, change, rotate and revoke virtual keys."`
	Vault    vaultCmd    `cmd:"" help:"See, check and rotate the key that stored provider keys are sealed under."`
	Ledger   ledgerCmd   `cmd:"" help:"Prove, show, export and repair the credit ledger."`
	Backup   backupCmd   `cmd:"" help:"Make, check and restore backups."`
	Explain  explainCmd  `cmd:"" help:"Show why a request was answered by whom: the facts, the scores, the attempts, and what would have changed it."`
	Replay   replayCmd   `cmd:"" help:"Decide recorded requests again: prove that they come out the same, or see what another policy would have done; or score a policy on recorded answers."`
	Records  recordsCmd  `cmd:"" help:"Export, import and generate decision records."`
	Outcomes outcomesCmd `cmd:"" help:"Convert, split and make recorded answers of models, which policies are scored on."`
	Usage    usageCmd    `cmd:"" help:"List, sum up, export and recount usage."`
	Catalog  catalogCmd  `cmd:"" help:"List models and prices, compare them with other lists, take over theirs."`
	Config   configCmd   `cmd:"" help:"Check configuration files."`
	Bench    benchCmd    `cmd:"" help:"Measure what the gateway costs beside a bare reverse proxy."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// compileCommand is the first argument of the process that compiles a policy, see compilePolicy.
const compileCommand = "policy-compile"

// terminal is where a command writes; tests give it buffers.
type terminal struct {
	out, err io.Writer
}

func main() {
	if builtin.IsProcess() { // before anything else: this process is a plugin
		forbidInheritedDumps()
		builtin.Serve()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == compileCommand {
		os.Exit(compileProcess(os.Args[2:], os.Stdin, terminal{os.Stdout, os.Stderr}))
	}
	os.Exit(run(os.Args[1:], terminal{os.Stdout, os.Stderr}))
}

// run executes one command line and returns the exit status: 0, 1 for a failure, 2 for a wrong command line.
func run(args []string, term terminal) int {
	ctx, err := newParser(grammar(args), term).Parse(args)
	if err != nil {
		fmt.Fprintf(term.err, "pointsman: %v\n", err)
		return 2
	}
	if err := ctx.Run(term); err != nil {
		fmt.Fprintf(term.err, "pointsman: %v\n", err)
		return 1
	}
	return 0
}

func newParser(commands any, term terminal) *kong.Kong {
	parser, err := kong.New(commands,
		kong.Name("pointsman"),
		kong.Description("A gateway that routes LLM requests by policies you can test, replay, sign and explain."),
		kong.Writers(term.out, term.err),
		kong.Vars{"data": defaultDataDir(), "languages": languageNames(), "figures": replayFigures(), "sections": strings.Join(bench.Sections(), ","), "growing": strings.Join(bench.Growing(), ",")},
		kong.UsageOnError(),
	)
	if err != nil {
		panic(err) // a mistake in the tags above
	}
	return parser
}

// grammar is cli with the command that is asked for alone, if it is one: reading the tags of all takes a quarter of a gateway's start.
func grammar(args []string) any {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[cli]()) {
		if len(args) > 0 && args[0] == strings.ToLower(field.Name) {
			return reflect.New(reflect.StructOf([]reflect.StructField{field})).Interface()
		}
	}
	return new(cli)
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(term terminal) error {
	fmt.Fprintln(term.out, "pointsman", version)
	return nil
}
