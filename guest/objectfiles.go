package guest

// ObjectFile is a BPF object as a payload of objects has it.
type ObjectFile struct {
	Name string // the first part of the names of its tests
	Path string
	Data []byte
}

// ReadObjects reads the BPF objects that [FindObjects] found.
func ReadObjects(paths []string) ([]ObjectFile, error) {
	names := objectNames(paths)
	files := make([]ObjectFile, len(paths))
	for i, path := range paths {
		b, err := readObject(path)
		if err != nil {
			return nil, err
		}
		files[i] = ObjectFile{names[i], path, b}
	}
	return files, nil
}
