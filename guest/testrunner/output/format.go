package output

// format reads one way to print tests. It gets whole lines, from the one by which
// it was recognised on, or all: see dialect.early.
type format interface {
	kind() kind
	line(text []byte)
	// running tells whether a test is known to run, whose own text can look
	// like anything.
	running() bool
	// complete tells whether all that was begun has come to its end.
	complete() bool
	// end tells that the program is gone, and how. Tests that never ended
	// fail, and so does what is missing of the whole, which is told to
	// sink.cutShort as well.
	end(how string)
}

// kind is a format in words.
type kind string

// dialect is a format before it is the program's. Each is declared in its own
// file, and none knows another.
type dialect struct {
	// begins says whether a line shows that the program prints in this format.
	begins func(p *Parser, text []byte) bool
	// starts says whether a line is the first that a program prints, and cannot be
	// text of another's, such as a result alone can. nil: no line is.
	starts func(p *Parser, text []byte) bool
	open   func(out *sink) format
	// early says that the lines before the sign are of the tests, too.
	early bool
	// failure says whether a line tells by itself, and from its first byte on, that
	// a test failed, and which; "" where it does not say. It fails a program whose
	// format is another, too.
	failure func(text []byte) (k kind, name string, ok bool)
}

// dialects are all formats, in the order in which a line is tried: the output of
// go test -json holds go test's lines.
var dialects = []dialect{goJSONDialect, goTestDialect, tapDialect, gtestDialect, nextestDialect, libtestDialect, testProgsDialect}

// failureLine tries a line with every format.
func failureLine(text []byte) (kind, string, bool) {
	for _, d := range dialects {
		if k, name, ok := d.failure(text); ok {
			return k, name, true
		}
	}
	return "", "", false
}

// recognise makes the format that a line is the first of the program's. It stays
// as it is where the line is ordinary text.
func (p *Parser) recognise(text []byte) {
	for _, d := range dialects {
		if d.begins(p, text) {
			p.format = d.open(&p.out)
			if d.early {
				p.replayEarly()
			}
			p.early = nil
			return
		}
	}
}

// startsAnother tells whether a line is the first of a program's that prints in
// another format than the one before.
func (p *Parser) startsAnother(text []byte) bool {
	for _, d := range dialects {
		if d.starts != nil && d.starts(p, text) {
			return true
		}
	}
	return false
}
