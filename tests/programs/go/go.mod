module client

go 1.18
