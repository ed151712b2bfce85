package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report/entries"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

const (
	configName = "bpf-kernel-check.yaml"
	configEnv  = "BPF_KERNEL_CHECK_" // begins the variables that are flags
	configNone = "none"
)

// A setting is a flag's value that the command line does not have.
type setting struct {
	entries.Setting        // Where is FILE:LINE, or the variable's name
	dir             string // where its relative paths start; "" for the working directory
}

// hasSettings are the commands whose flags can be set by the environment and the
// file. Of one file the demo would not be the demo.
var hasSettings = []string{"run", "exec", "bisect", "debug", "plan", "list", "preflight", "merge", "publish"}

// ofOneCall are the flags that neither the environment nor the file sets: what
// they say is true of one call.
var ofOneCall = []string{"bad", "base", "config", "from", "gdb", "good", "help", "json", "max-boots", "needs", "no-payload", "pending", "plan", "program", "shard", "src"}

// notInFile are the flags that a checkout must not turn on by itself. Whoever
// starts the program in it may not know what its file says.
var notInFile = []string{"host-root", "net"}

// notByFork are the flags that the file in a fork's pull request does not set: they
// make a check green that would be red, and the file is what the fork proposes.
var notByFork = []string{"advisory", "flaky"}

// otherMeaning are flags of a command that mean something else than run's of the
// same name.
var otherMeaning = map[string][]string{"plan": {"out"}, "debug": {"boot-timeout"}, "exec": {"name"}, "bisect": {"out"}}

// alternatives are flags of which one takes the place of others: where the command
// line has one of these, the environment and the file set none of all.
var alternatives = []struct{ these, all []string }{
	{[]string{"kernels", "bucket", "mainline", "src"}, []string{"kernels", "bucket", "mainline", "kernel"}},
	{
		[]string{"test", "tests", "go", "objects", "events-trace"},
		[]string{"test", "tests", "go", "objects", "events-trace", "tags", "go-args", "attach", "unsupported", "loader", "load", "map", "set", "programs", "alternatives", "target", "btf", "require", "workdir", "cover", "junit", "framework", "isolate"},
	},
	{[]string{"shards", "target-minutes"}, []string{"shards", "target-minutes"}},
	{[]string{"rootfs", "host-root"}, []string{"rootfs", "host-root"}},
	{[]string{"repeat", "rerun-failed-tests"}, []string{"repeat", "rerun-failed-tests", "flaky"}},
}

// replaced says whether a flag, or one that takes its place, is given.
func replaced(flag string, given func(string) bool) bool {
	if given(flag) {
		return true
	}
	return slices.ContainsFunc(alternatives, func(a struct{ these, all []string }) bool {
		return slices.Contains(a.all, flag) && slices.ContainsFunc(a.these, given)
	})
}

// applySettings sets the flags of a command that the command line does not have.
// It runs before each command.
func (c *command) applySettings(cmd *cobra.Command, args []string) (err error) {
	if c.settled || !slices.Contains(hasSettings, cmd.Name()) || cmd.Parent() != cmd.Root() {
		return nil
	}
	if cmd.Name() == "exec" || cmd.Name() == "bisect" { // whose wrong flags have an exit status of their own
		defer func() {
			if err != nil {
				err = cmd.FlagErrorFunc()(cmd, err)
			}
		}()
	}
	f := cmd.Flags()
	var line []string
	f.Visit(func(f *pflag.Flag) { line = append(line, f.Name) })
	if slices.Contains([]string{"run", "bisect", "plan", "list", "preflight"}, cmd.Name()) && len(args) > 0 {
		line = append(line, "kernels") // arguments are sources
	}
	all, err := c.settings(cmd.Root(), c.config, func(flag string) bool { return slices.Contains(line, flag) })
	if err != nil {
		return err
	}
	for _, s := range all {
		switch {
		case f.Lookup(s.Key) == nil, slices.Contains(otherMeaning[cmd.Name()], s.Key):
		case slices.Contains(line, "from") && s.Key != "cache" && s.Key != "accel": // the result has them
		case slices.Contains(line, "pending") && s.Key != "name": // there is nothing else to publish yet
		default:
			if err := s.set(cmd); err != nil {
				return c.blame(err)
			}
		}
	}
	return nil
}

// set gives a flag its values.
func (s setting) set(cmd *cobra.Command) error {
	for _, v := range s.Values {
		if err := cmd.Flags().Set(s.Key, v); err != nil {
			return usageError{plainFlag(cmd, err)}
		}
	}
	return nil
}

// settings returns the values of the environment, and those of the file that the
// environment does not replace, for flags that are not given. file is --config.
func (c *command) settings(root *cobra.Command, file string, given func(string) bool) ([]setting, error) {
	flags := settable(root)
	c.warnMisspelt(flags)
	var all []setting
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		v := strings.TrimSpace(c.getenv(envName(name)))
		if v == "" || replaced(name, given) {
			continue
		}
		s := setting{entries.Setting{Key: name, Values: []string{v}, Where: envName(name)}, ""}
		if isList(flags[name]) {
			s.Values = inputs{name: v}.list(name)
		}
		all = append(all, s)
	}
	fromEnv := slices.Clone(all)
	inFile, err := c.readConfig(cmp.Or(file, c.getenv(envName("config"))), flags)
	if err != nil {
		return nil, err
	}
	for _, s := range inFile {
		taken := func(flag string) bool {
			return given(flag) || slices.ContainsFunc(fromEnv, func(s setting) bool { return s.Key == flag })
		}
		if !replaced(s.Key, taken) {
			all = append(all, s)
		}
	}
	// Whether a program's name is a path depends on there being a root.
	rooted := given("rootfs") || given("host-root") || slices.ContainsFunc(all, func(s setting) bool { return s.Key == "rootfs" || s.Key == "host-root" })
	c.from = map[string]string{}
	for i, s := range all {
		if at := pathsIn(rooted)[s.Key]; at != nil && s.dir != "" {
			for j, v := range s.Values {
				all[i].Values[j] = at(s.dir, v)
			}
		}
		c.from[s.Key] = s.Where
	}
	return all, nil
}

// warnMisspelt tells of variables that are nearly a setting's. Others with the prefix
// belong to somebody else.
func (c *command) warnMisspelt(flags map[string]*pflag.Flag) {
	known := []string{envName("config")}
	for _, key := range slices.Concat(slices.Sorted(maps.Keys(flags)), ofOneCall) {
		known = append(known, envName(key))
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, configEnv) || slices.Contains(known, name) {
			continue
		}
		if s := kernel.Suggest(name, known); s != "" {
			c.warn(name + " is no setting" + s)
		}
	}
}

func envName(flag string) string {
	return configEnv + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func isList(f *pflag.Flag) bool { return f.Value.Type() == "stringArray" }

// settable returns the flags that can be set, by name.
func settable(root *cobra.Command) map[string]*pflag.Flag {
	flags := map[string]*pflag.Flag{}
	add := func(f *pflag.Flag) {
		if !slices.Contains(ofOneCall, f.Name) && flags[f.Name] == nil {
			flags[f.Name] = f
		}
	}
	root.PersistentFlags().VisitAll(add)
	for _, name := range hasSettings {
		for _, cmd := range root.Commands() {
			if cmd.Name() == name {
				cmd.Flags().VisitAll(add)
			}
		}
	}
	return flags
}

// readConfig reads the file that --config names, or the nearest one; without
// either there are no settings.
func (c *command) readConfig(name string, flags map[string]*pflag.Flag) ([]setting, error) {
	if name == configNone {
		return nil, nil
	}
	event := c.getenv("GITHUB_EVENT_NAME")
	fork, err := github.FromFork(github.Env{Event: event, Payload: c.getenv("GITHUB_EVENT_PATH")})
	fork = fork || err != nil // it may be one
	path := name
	if path == "" {
		if path, err = findConfig("."); path == "" || err != nil {
			return nil, err
		}
		// The workflow is the base branch's, the checkout may be the fork's.
		if fork && event != "pull_request" {
			c.warn(fmt.Sprintf("%s is not read, for the event %.50s may be about a fork's code: give inputs or flags, or --config FILE if the file is yours", path, event))
			return nil, nil
		}
	}
	f, err := openList(path)
	if err != nil {
		return nil, usagef("--config: %w: give a YAML file, or none", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, usagef("--config: %q is no file: give a YAML file, or none", path)
	}
	read, err := entries.ReadSettings(f, path)
	if err != nil {
		return nil, usageError{err}
	}
	dir := filepath.Dir(path)
	if dir == "." {
		dir = ""
	}
	var all []setting
	for _, s := range read {
		flag := flags[s.Key]
		switch {
		case slices.Contains(ofOneCall, s.Key):
			err = entries.Errorf(s.Where, "%s is for one call: give it as a flag, or as an input of the action", s.Key)
		case slices.Contains(notInFile, s.Key):
			err = entries.Errorf(s.Where, "%s opens this machine to the payload: give it as a flag, or as an input of the action", s.Key)
		case flag == nil:
			err = entries.Errorf(s.Where, "unknown key %.50q%s: want the name of a flag", s.Key, kernel.Suggest(s.Key, slices.Sorted(maps.Keys(flags))))
		case s.List && !isList(flag):
			err = entries.Errorf(s.Where, "%s is a list: want one value", s.Key)
		case flag.Value.Type() == "bool" && s.Values[0] != "true" && s.Values[0] != "false":
			err = entries.Errorf(s.Where, "%s is %.50q: want true or false", s.Key, s.Values[0])
		}
		if err != nil {
			return nil, usageError{err}
		}
		if fork && event == "pull_request" && slices.Contains(notByFork, s.Key) {
			c.warn(fmt.Sprintf("%s: %s does not count, for this pull request may be a fork's: give it as a flag, or as an input of the action", s.Where, s.Key))
			continue
		}
		all = append(all, setting{s, dir})
	}
	return all, nil
}

// findConfig returns the path of the file in a directory or, inside of a git
// repository, in the nearest one above; "" without one.
func findConfig(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	found := ""
	for at, rel := abs, ""; ; at, rel = filepath.Dir(at), filepath.Join("..", rel) {
		if exists(filepath.Join(at, configName)) && found == "" {
			if found = filepath.Join(rel, configName); at == abs {
				return found, nil
			}
		}
		if other := strings.TrimSuffix(configName, "yaml") + "yml"; found == "" && exists(filepath.Join(at, other)) {
			return "", usagef("%s: the file is called %s: rename it", filepath.Join(rel, other), configName)
		}
		switch {
		case exists(filepath.Join(at, ".git")):
			return found, nil
		case at == filepath.Dir(at): // no repository: what is above is somebody else's
			return "", nil
		}
	}
}

// settingError is an error about a setting, with the place where it stands.
type settingError struct {
	where string
	error
}

func (e settingError) Error() string { return e.where + ": " + e.error.Error() }
func (e settingError) Unwrap() error { return e.error }

// blame puts the place of the first flag that an error is about, if that was not
// on the command line, before it.
func (c *command) blame(err error) error {
	var exit exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	for _, m := range flagRE.FindAllStringSubmatch(err.Error(), -1) {
		switch where := c.from[m[1]]; {
		case where == "":
		case strings.HasPrefix(err.Error(), where):
			return err
		default:
			return settingError{where, err}
		}
	}
	return err
}
