package postgres

// Prune is what Run does every hour.
var Prune = (*Store).prune
