"""The stand-in Tink server and web server that the tests, the demo and people use."""
