package postgres

import "waypost/directory/schema"

// Schema implements tree.Tree.
func (s *Store) Schema() *schema.Schema { return s.schema.Load() }
