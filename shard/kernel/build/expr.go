package build

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// expr is an expression of Kconfig, as in "depends on A && (B || !C)".
type expr interface {
	// eval returns n, m or y, or unknown for what rests on the toolchain.
	eval(c config) tristate
	// blame says what keeps the expression from being y, in the words of a
	// message such as "NET is n". It is only asked of one that is not.
	blame(c config) string
	String() string
}

type tristate int8

const (
	unknown tristate = iota - 1
	no
	mod
	yes
)

func tristateOf(v string) tristate {
	switch v {
	case "y":
		return yes
	case "m":
		return mod
	}
	return no
}

type (
	symbol  string
	literal string // quoted
	macro   string // $(...), as it stands
	notExpr struct{ x expr }
	andExpr struct{ l, r expr }
	orExpr  struct{ l, r expr }
	compare struct {
		op   string
		l, r expr // symbol, literal or macro
	}
)

func (s symbol) eval(c config) tristate {
	if s == "y" || s == "m" || s == "n" {
		return tristateOf(string(s))
	}
	return tristateOf(c.value(string(s)))
}
func (s symbol) blame(c config) string   { return fmt.Sprintf("%s is %s", s, c.value(string(s))) }
func (s symbol) String() string          { return string(s) }
func (l literal) eval(c config) tristate { return tristateOf(string(l)) }
func (l literal) blame(config) string    { return l.String() }
func (l literal) String() string         { return `"` + string(l) + `"` }
func (m macro) eval(config) tristate     { return unknown }
func (m macro) blame(config) string      { return "the toolchain does not pass " + string(m) }
func (m macro) String() string           { return string(m) }

func (e notExpr) eval(c config) tristate {
	if v := e.x.eval(c); v != unknown {
		return yes - v
	}
	return unknown
}

func (e notExpr) blame(c config) string {
	if s, ok := e.x.(symbol); ok {
		return s.blame(c)
	}
	return e.String() + " does not hold"
}

func (e notExpr) String() string {
	switch e.x.(type) {
	case andExpr, orExpr:
		return "!(" + e.x.String() + ")"
	}
	return "!" + e.x.String()
}

// eval: one side that is n decides, whatever the other is.
func (e andExpr) eval(c config) tristate {
	l, r := e.l.eval(c), e.r.eval(c)
	if l == no || r == no {
		return no
	}
	return min(l, r)
}

func (e andExpr) blame(c config) string {
	var parts []string
	for _, x := range []expr{e.l, e.r} {
		if v := x.eval(c); v == no || v == mod {
			parts = append(parts, x.blame(c))
		}
	}
	if len(parts) == 0 { // unknown ones
		return e.String() + " does not hold"
	}
	return strings.Join(parts, ", ")
}

func (e andExpr) String() string { return group(e.l) + " && " + group(e.r) }

func group(x expr) string {
	if _, ok := x.(orExpr); ok {
		return "(" + x.String() + ")"
	}
	return x.String()
}

func (e orExpr) eval(c config) tristate {
	l, r := e.l.eval(c), e.r.eval(c)
	if l == yes || r == yes {
		return yes
	}
	if l == unknown || r == unknown {
		return unknown
	}
	return max(l, r)
}

func (e orExpr) blame(c config) string { return e.l.blame(c) + " and " + e.r.blame(c) }
func (e orExpr) String() string        { return e.l.String() + " || " + e.r.String() }

func (e compare) eval(c config) tristate {
	l, lok := operand(e.l, c)
	r, rok := operand(e.r, c)
	if !lok || !rok {
		return unknown
	}
	d := strings.Compare(l, r)
	if x, err := strconv.ParseInt(l, 0, 64); err == nil {
		if y, err := strconv.ParseInt(r, 0, 64); err == nil {
			d = cmp.Compare(x, y)
		}
	}
	hold := false
	switch e.op {
	case "=":
		hold = d == 0
	case "!=":
		hold = d != 0
	case "<":
		hold = d < 0
	case "<=":
		hold = d <= 0
	case ">":
		hold = d > 0
	case ">=":
		hold = d >= 0
	}
	if hold {
		return yes
	}
	return no
}

func (e compare) blame(c config) string {
	s := e.String() + " does not hold"
	if name, ok := e.l.(symbol); ok {
		s += fmt.Sprintf(" (it is %s)", c.value(string(name)))
	}
	return s
}

func (e compare) String() string { return e.l.String() + " " + e.op + " " + e.r.String() }

// operand is a side of a comparison: a symbol's value, or the word itself where
// no symbol has that name, as in PAHOLE_VERSION >= 121.
func operand(x expr, c config) (string, bool) {
	switch x := x.(type) {
	case symbol:
		if v, ok := c[string(x)]; ok {
			return strings.Trim(v, `"`), true
		}
		if x[0] >= '0' && x[0] <= '9' || x == "y" || x == "m" || x == "n" {
			return string(x), true
		}
		return "n", true
	case literal:
		return string(x), true
	}
	return "", false
}

var errExpr = errors.New("no expression of Kconfig")

// maxDepth caps the nesting of expressions and of files that include others.
const maxDepth = 64

// parseExpr reads an expression.
func parseExpr(s string) (expr, error) {
	p := exprParser{rest: s}
	x, err := p.or(0)
	if err == nil && p.next() != "" {
		err = errExpr
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return x, nil
}

type exprParser struct {
	rest   string
	peeked string // a token that was looked at and not taken
}

func (p *exprParser) peek() string {
	if p.peeked == "" {
		p.peeked = p.scan()
	}
	return p.peeked
}

func (p *exprParser) next() string {
	t := p.peek()
	p.peeked = ""
	return t
}

// scan returns the next token, "" at the end. A byte that starts none is a
// token of its own, which no rule takes.
func (p *exprParser) scan() string {
	p.rest = strings.TrimLeft(p.rest, " \t")
	n := tokenLen(p.rest)
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

func tokenLen(s string) int {
	if s == "" {
		return 0
	}
	for _, op := range []string{"&&", "||", "!=", "<=", ">=", "$("} {
		if !strings.HasPrefix(s, op) {
			continue
		}
		if op != "$(" {
			return len(op)
		}
		depth := 0
		for i := 1; i < len(s); i++ {
			if s[i] == '(' {
				depth++
			} else if s[i] == ')' {
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return len(op) // not closed
	}
	if q := s[0]; q == '"' || q == '\'' {
		if i := strings.IndexByte(s[1:], q); i >= 0 {
			return i + 2
		}
		return len(s)
	}
	n := 0
	for n < len(s) && (strings.IndexByte(wordBytes, s[n]) >= 0 || s[n] == '-') {
		n++
	}
	return max(n, 1)
}

func (p *exprParser) or(depth int) (expr, error) {
	return p.chain(depth, "||", p.and, func(l, r expr) expr { return orExpr{l, r} })
}

func (p *exprParser) and(depth int) (expr, error) {
	return p.chain(depth, "&&", p.not, func(l, r expr) expr { return andExpr{l, r} })
}

// maxTerms caps a chain of && or ||, which nests to the left.
const maxTerms = 1000

func (p *exprParser) chain(depth int, op string, operand func(int) (expr, error), join func(l, r expr) expr) (expr, error) {
	x, err := operand(depth)
	for n := 0; err == nil && p.peek() == op; n++ {
		if n > maxTerms {
			return nil, errExpr
		}
		p.next()
		var y expr
		if y, err = operand(depth); err == nil {
			x = join(x, y)
		}
	}
	return x, err
}

func (p *exprParser) not(depth int) (expr, error) {
	if depth > maxDepth {
		return nil, errExpr
	}
	switch t := p.peek(); t {
	case "!":
		p.next()
		x, err := p.not(depth + 1)
		return notExpr{x}, err
	case "(":
		p.next()
		x, err := p.or(depth + 1)
		if err == nil && p.next() != ")" {
			err = errExpr
		}
		return x, err
	}
	x, err := p.word()
	if err != nil {
		return nil, err
	}
	switch op := p.peek(); op {
	case "=", "!=", "<", "<=", ">", ">=":
		p.next()
		y, err := p.word()
		return compare{op, x, y}, err
	}
	return x, nil
}

func (p *exprParser) word() (expr, error) {
	t := p.next()
	switch {
	case t == "":
	case strings.HasPrefix(t, "$(") && strings.HasSuffix(t, ")"):
		return macro(t), nil
	case len(t) >= 2 && (t[0] == '"' || t[0] == '\'') && t[len(t)-1] == t[0]:
		return literal(t[1 : len(t)-1]), nil
	case strings.Trim(t, wordBytes+"-") == "":
		return symbol(t), nil
	}
	return nil, errExpr
}
