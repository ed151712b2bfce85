package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// kconfig is what a tree's Kconfig files say about its options, as far as it
// takes to explain why one of them is not set.
type kconfig struct {
	defs    map[string][]*definition
	selects map[string][]selection // by the option that is selected

	fsys  fs.FS
	vars  map[string]string // of $(NAME)
	files int
	stack []*frame
}

// definition is one "config NAME" or "menuconfig NAME".
type definition struct {
	name   string
	at     string // file:line
	conds  []expr // of the menus, ifs and choices around it, and its own
	prompt bool   // without one nobody can set it
	asked  []expr // further conditions for its prompt
	choice *frame // nil outside of choices
}

// selection is a "select NAME if COND" of another option.
type selection struct {
	by   string
	cond expr // nil: always
}

// frame is an if, menu or choice.
type frame struct {
	word    string
	conds   []expr
	members []string // of a choice
}

const (
	maxKconfigFile  = 4 << 20
	maxKconfigFiles = 20000
)

// readKconfig reads the Kconfig files of the tree for an architecture's
// directory below arch/.
func readKconfig(tree fs.FS, arch Arch) (*kconfig, error) {
	k := &kconfig{
		defs: make(map[string][]*definition), selects: make(map[string][]selection), fsys: tree,
		vars: map[string]string{"SRCARCH": arch.Dir, "ARCH": arch.Kernel, "srctree": "."},
	}
	if err := k.read("Kconfig", 0); err != nil {
		return nil, fmt.Errorf("read the tree's Kconfig: %w", err)
	}
	return k, nil
}

func (k *kconfig) read(name string, depth int) error {
	if k.files++; k.files > maxKconfigFiles || depth > maxDepth {
		return fmt.Errorf("%s: more than %d files, or deeper than %d", name, maxKconfigFiles, maxDepth)
	}
	f, err := k.fsys.Open(path.Clean(name))
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKconfigFile))
	if err != nil {
		return err
	}
	return k.parse(name, string(b), depth)
}

// parse reads one file. What it does not understand it passes over: a newer
// tree may have words that this reader has never heard of, and an explanation
// that lacks something is better than none.
func (k *kconfig) parse(name, text string, depth int) error {
	open := len(k.stack)
	var def *definition // that attributes belong to
	var fr *frame       // or this one
	helpIndent := -1    // of the help text that is being passed over; -2: its first line is to come
	number, cont := 0, ""
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if helpIndent != -1 {
			in := indent(line)
			switch {
			case strings.TrimSpace(line) == "":
				continue
			case helpIndent == -2 && in > 0:
				helpIndent = in
				continue
			case helpIndent >= 0 && in >= helpIndent:
				continue
			}
			helpIndent = -1
		}
		if rest, ok := strings.CutSuffix(line, `\`); ok && len(cont) < 64<<10 {
			cont += rest + " "
			continue
		}
		line, cont = strings.TrimSpace(cont+line), ""
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest := cutWord(line)
		switch word {
		case "config", "menuconfig":
			def, fr = k.define(rest, fmt.Sprintf("%s:%d", name, number)), nil
		case "if":
			f := &frame{word: "if"}
			f.conds = appendExpr(f.conds, rest)
			k.stack = append(k.stack, f)
			def, fr = nil, nil
		case "menu", "choice":
			fr = &frame{word: word}
			k.stack = append(k.stack, fr)
			def = nil
		case "endif", "endmenu", "endchoice":
			if len(k.stack) > open {
				k.stack = k.stack[:len(k.stack)-1]
			}
			def, fr = nil, nil
		case "comment", "mainmenu":
			def, fr = nil, nil
		case "source":
			def, fr = nil, nil
			if err := k.source(rest, depth); err != nil {
				return fmt.Errorf("%s:%d: %w", name, number, err)
			}
		case "help", "---help---":
			helpIndent = -2
		case "depends":
			if cond, ok := strings.CutPrefix(rest, "on"); ok && def != nil {
				def.conds = appendExpr(def.conds, cond)
			} else if ok && fr != nil {
				fr.conds = appendExpr(fr.conds, cond)
			}
		case "visible":
			if cond, ok := strings.CutPrefix(rest, "if"); ok && fr != nil {
				fr.conds = appendExpr(fr.conds, cond)
			}
		case "bool", "tristate", "string", "hex", "int", "prompt":
			_, cond := cutPrompt(rest)
			if fr != nil {
				fr.conds = appendExpr(fr.conds, cond)
			} else if def != nil && rest != "" {
				def.prompt = true
				def.asked = appendExpr(def.asked, cond)
			}
		case "select":
			if def != nil {
				target, cond, _ := strings.Cut(rest, " if ")
				s := selection{by: def.name}
				if x := appendExpr(nil, cond); len(x) > 0 {
					s.cond = x[0]
				}
				target = strings.TrimSpace(target)
				k.selects[target] = append(k.selects[target], s)
			}
		}
	}
	k.stack = k.stack[:min(open, len(k.stack))]
	return nil
}

func (k *kconfig) define(rest, at string) *definition {
	name, _ := cutWord(rest)
	d := &definition{name: name, at: at}
	for _, f := range k.stack {
		d.conds = append(d.conds, f.conds...)
		if f.word == "choice" {
			d.choice = f
			f.members = append(f.members, name)
		}
	}
	k.defs[name] = append(k.defs[name], d)
	return d
}

// source reads another file. Those that are not there for this architecture
// are named by variables, and so are some that the build makes.
func (k *kconfig) source(rest string, depth int) error {
	file := strings.Trim(rest, `"`)
	for name, value := range k.vars {
		file = strings.ReplaceAll(file, "$("+name+")", value)
	}
	if strings.Contains(file, "$") {
		return nil
	}
	err := k.read(file, depth+1)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil
	}
	return err
}

// appendExpr appends a condition, if there is one that can be read.
func appendExpr(list []expr, s string) []expr {
	s, _, _ = strings.Cut(s, "#")
	if s = strings.TrimSpace(s); s == "" {
		return list
	}
	if x, err := parseExpr(s); err == nil {
		return append(list, x)
	}
	return list
}

func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t\"")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// cutPrompt splits `"Text" if COND`.
func cutPrompt(s string) (text, cond string) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return "", ""
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			cond, _ = strings.CutPrefix(strings.TrimSpace(s[i+1:]), "if")
			return s[1:i], cond
		}
	}
	return s[1:], ""
}

// indent is how far a line's text is indented, with tabs to columns of eight.
func indent(line string) int {
	n := 0
	for _, c := range []byte(line) {
		switch c {
		case ' ':
			n++
		case '\t':
			n += 8 - n%8
		default:
			return n
		}
	}
	return n
}

// explain says in one line why the configuration does not have an option as it
// is wanted.
func (k *kconfig) explain(o Option, c config) string {
	head := fmt.Sprintf("CONFIG_%s is %s, not %s", o.Name, c.value(o.Name), o.Value)
	defs := k.defs[o.Name]
	if len(defs) == 0 {
		return head + ": this tree has no such option"
	}
	if o.Value == "n" {
		var by []string
		for _, s := range k.selects[o.Name] {
			if c.value(s.by) != "n" && (s.cond == nil || s.cond.eval(c) != no) && !slices.Contains(by, s.by) {
				by = append(by, s.by)
			}
		}
		if len(by) > 0 {
			return head + ": it is selected by " + strings.Join(by, ", ")
		}
		return fmt.Sprintf("%s (%s)", head, defs[0].at)
	}
	// An option may be defined for each of several architectures or menus: the
	// definition that lacks least is the one to mend.
	best := ""
	for i, d := range defs {
		if why := k.lacks(d, c); i == 0 || len(why) < len(best) {
			best = fmt.Sprintf("%s (%s)", why, d.at)
		}
	}
	return head + ": " + best
}

// lacks says what keeps a definition from being set.
func (k *kconfig) lacks(d *definition, c config) string {
	var blames []string
	add := func(conds []expr) {
		for _, x := range conds {
			if v := x.eval(c); v == no || v == mod {
				if b := x.blame(c); !slices.Contains(blames, b) {
					blames = append(blames, b)
				}
			}
		}
	}
	add(d.conds)
	if len(blames) == 0 {
		add(d.asked)
	}
	if len(blames) > 0 {
		return "it depends on " + conjunction(d) + ", and " + strings.Join(blames, ", ")
	}
	if d.choice != nil {
		for _, m := range d.choice.members {
			if m != d.name && c.value(m) == "y" {
				return "its choice has " + m
			}
		}
	}
	if !d.prompt {
		var by []string
		for _, s := range k.selects[d.name] {
			by = append(by, s.by)
		}
		if len(by) > 0 {
			return "only other options set it, and none of them does: " + strings.Join(by, ", ")
		}
		return "only its default sets it"
	}
	for _, x := range append(slices.Clone(d.conds), d.asked...) {
		if x.eval(c) == unknown {
			return "it depends on " + x.String() + ", which the toolchain decides"
		}
	}
	return "its dependencies are met, and it is not set all the same"
}

// conjunction is all that a definition depends on.
func conjunction(d *definition) string {
	var parts []string
	for _, x := range append(slices.Clone(d.conds), d.asked...) {
		s := group(x)
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " && ")
}
