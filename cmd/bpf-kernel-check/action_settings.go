package main

import (
	"encoding/json"
	"slices"
	"strings"
)

// actionDefaults are the inputs that a workflow, the environment and the file may
// leave out. They do not stand in the actions, where nobody could tell them from
// those that were given.
var actionDefaults = map[string]inputs{
	"run":    {"timeout-total": "5h30m"},
	"plan":   {"shards": "4"},
	"report": {"status": "true", "comment": "true"},
}

// addSettings adds what the environment and the file say to the inputs of the
// first step of an action, and what is the default of both.
func (c *command) addSettings(which string, in inputs) error {
	given := func(name string) bool { return in[name] != "" }
	all, err := c.settings(c.root(), in["config"], given)
	if err != nil {
		return err
	}
	cmds, own := c.actionInputs(which)
	known := slices.Concat(flagNames(cmds...), own, []string{"cache"})
	for _, s := range all {
		if !slices.Contains(known, s.Key) || slices.Contains(otherMeaning[which], s.Key) {
			continue
		}
		for _, cmd := range cmds { // as the later steps will, whose errors do not know the place
			if cmd.Flags().Lookup(s.Key) != nil {
				if err := s.set(cmd); err != nil {
					return err
				}
			}
		}
		in[s.Key] = strings.Join(s.Values, "\n")
	}
	given = func(name string) bool { return in[name] != "" }
	for name, v := range actionDefaults[which] {
		if !replaced(name, given) {
			in[name] = v
		}
	}
	return nil
}

// inputWhere is no input: under it the first step leaves where the settings stand
// to the steps that follow.
const inputWhere = "where"

func (in inputs) leaveWhere(c *command) {
	if len(c.from) > 0 {
		b, _ := json.Marshal(c.from) // a map of texts
		in[inputWhere] = string(b)
	}
}

func (in inputs) takeWhere(c *command) error {
	text := in[inputWhere]
	delete(in, inputWhere)
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &c.from); err != nil {
		return usagef("%s: %w", inputWhere, err)
	}
	return nil
}
