package kernel

// Need is something that sources use and that this program does not bring.
type Need struct {
	Path    string // a command's name, or an absolute path
	Package string // of Debian and Ubuntu, that has it
}

// Needs says what the sources need that specs name, as for [ParseAll]. Where
// one cannot be read it is nothing: ParseAll says why.
func Needs(specs []string) []Need {
	sources, err := ParseAll(specs, nil) // a source uses its cache when it is listed
	if err != nil {
		return nil
	}
	var all []Need
	seen := map[Need]bool{}
	for _, s := range sources {
		if line, ok := s.(*lineSource); ok {
			s = line.Source
		}
		needy, ok := s.(interface{ needs() []Need })
		if !ok {
			continue
		}
		for _, n := range needy.needs() {
			if !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
	}
	return all
}

func (s *aptSource) needs() []Need {
	return []Need{{"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"gpgv", "gpgv"}, {s.archive.keyring, s.archive.keyPackage}}
}
