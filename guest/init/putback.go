package main

type system struct{}

func observe() *system { return &system{} }

func (s *system) putBack() (left []string, spoiled string) { return nil, "" }

func (s *system) stillLoaded() []string { return nil }
