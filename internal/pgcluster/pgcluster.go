// Package pgcluster finds the PostgreSQL server of this machine.
package pgcluster
