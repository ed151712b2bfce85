package main

import "context"

func (c *command) bisectTree(ctx context.Context, o *bisectOptions, args []string) error { return nil }
