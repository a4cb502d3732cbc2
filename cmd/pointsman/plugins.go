package main

import (
	"context"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/plugins"
)

func (g *gateway) startPlugins(ctx context.Context) error {
	host, err := plugins.New(plugins.Config{Builtin: true, Plugins: pluginEntries(g.cfg), Logger: g.log})
	if err != nil {
		return err
	}
	g.plugins = host
	return host.Start(ctx)
}

// pluginEntries is what the configuration says about plugins, for their host.
func pluginEntries(cfg *config.Config) map[string]plugins.Plugin {
	entries := map[string]plugins.Plugin{}
	for _, p := range cfg.Plugins {
		entries[p.Name] = plugins.Plugin{
			Path: p.Path, SHA256: p.SHA256, Args: p.Args, Env: p.Env, MemoryMB: p.MemoryMB, ReadPaths: p.ReadPaths, WritePaths: p.WritePaths,
			Processes: p.Processes, PlainSocket: p.PlainSocket, Unconfined: p.Unconfined,
		}
	}
	return entries
}

// pluginStatus is the state of the plugins, for operators.
func (g *gateway) pluginStatus() []admin.PluginStatus {
	out := []admin.PluginStatus{}
	for _, p := range g.plugins.Status() {
		out = append(out, admin.PluginStatus{
			Name: p.Plugin, State: string(p.State), PID: p.PID, SHA256: p.SHA256,
			Adapters: listed(p.Adapters), Versions: listed(p.Versions),
			Restarts: p.Restarts, Upgrades: p.Upgrades, Since: p.Since.UTC(), Error: p.LastError,
		})
	}
	return out
}

// pluginHealth is the state of the plugins, for everybody.
func (g *gateway) pluginHealth() []engine.PluginHealth {
	out := []engine.PluginHealth{}
	for _, p := range g.plugins.Status() {
		out = append(out, engine.PluginHealth{Plugin: p.Plugin, State: string(p.State), Adapters: listed(p.Adapters), Restarts: p.Restarts})
	}
	return out
}

// listed are names for an answer, in which a list is never null.
func listed(names []string) []string { return append([]string{}, names...) }
