package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report/entries"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// inputs are the inputs of an action, as toJSON(inputs) writes them, named after
// the command's flags. An empty one was not given. Values may come from a pull
// request, so they only ever become values of flags.
type inputs map[string]string

// maxInputs is the size of an environment variable that Linux allows. maxLeft is
// that of what the first step leaves: settings and their places are added, which
// JSON can make longer.
const (
	maxInputs = 128 << 10
	maxLeft   = maxInputs + 8*entries.MaxSettings
)

// readInputs reads the JSON object that the variable INPUTS holds, or the file that
// the first step has left, of at most so many bytes.
func readInputs(text string, most int) (inputs, error) {
	if text == "" {
		return nil, usagef("INPUTS is not set: the action's steps set it to ${{ toJSON(inputs) }}")
	}
	if len(text) > most {
		return nil, usagef("INPUTS has %d bytes: want %d at most", len(text), most)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	in := inputs{}
	if err := dec.Decode((*map[string]string)(&in)); err != nil {
		return nil, usagef("INPUTS is no JSON object of texts: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, usagef("INPUTS has more behind its JSON object")
	}
	for name, v := range in {
		in[name] = strings.TrimSpace(v)
	}
	return in, nil
}

// only refuses unknown inputs.
func (in inputs) only(known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !slices.Contains(known, name) {
			return usagef("input %.50q: want one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// flag reads a boolean.
func (in inputs) flag(name string) (bool, error) {
	switch v := in[name]; v {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	default:
		return false, usagef("input %s is %.50q: want true or false", name, v)
	}
}

// list returns the elements of a list, which has one on each line.
func (in inputs) list(name string) (list []string) {
	for line := range strings.Lines(in[name]) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// setFile gives an input that was not given a file or directory, if that exists.
func (in inputs) setFile(name, path string) {
	if in[name] == "" && exists(path) {
		in[name] = path
	}
}

// args returns the inputs that are flags of a command, as its arguments.
func (in inputs) args(cmd *cobra.Command) (args []string, err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		v := in[f.Name]
		if v == "" || err != nil {
			return
		}
		switch f.Value.Type() {
		case "bool":
			var yes bool
			if yes, err = in.flag(f.Name); yes {
				args = append(args, "--"+f.Name)
			}
		case "stringArray":
			for _, line := range in.list(f.Name) {
				args = append(args, "--"+f.Name+"="+line)
			}
		default:
			if n := strings.Count(v, "\n") + 1; n > 1 && f.Name != "needs" {
				err = usagef("input %s has %d lines: want one value", f.Name, n)
				return
			}
			args = append(args, "--"+f.Name+"="+v)
		}
	})
	return args, err
}

// check parses the inputs as the commands will, before anything starts, so that
// a wrong one does not cost a run its result.
func (in inputs) check(cmds ...*cobra.Command) error {
	for _, cmd := range cmds {
		args, err := in.args(cmd)
		if err != nil {
			return err
		}
		if err := cmd.Flags().Parse(args); err != nil {
			return usagef("inputs, which are flags here: %w", plainFlag(cmd, err))
		}
	}
	return nil
}

// plainFlag turns the library's error into what the flag takes, or which flag may
// have been meant.
func plainFlag(cmd *cobra.Command, err error) error {
	var none *pflag.NotExistError
	if errors.As(err, &none) && len(none.GetSpecifiedShortnames()) == 0 {
		return fmt.Errorf("%w%s", err, kernel.Suggest(none.GetSpecifiedName(), flagNames(cmd)))
	}
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	want, ok := map[string]string{
		"int": "a whole number, such as 4", "duration": "a time with its unit, such as 90s or 5m", "bool": "true or false",
	}[bad.GetFlag().Value.Type()]
	if !ok {
		return err
	}
	if bad.GetFlag().Name == "memory" {
		want = "a number of MiB, such as 1024"
	}
	return fmt.Errorf("--%s is %.50q: want %s", bad.GetFlag().Name, bad.GetValue(), want)
}

// flagNames returns the flags of commands, without help.
func flagNames(cmds ...*cobra.Command) []string {
	var names []string
	for _, cmd := range cmds {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		})
	}
	slices.Sort(names)
	return names
}
