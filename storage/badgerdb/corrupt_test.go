package badgerdb

type damageRange struct{}

func (d *damageRange) examine() {}
