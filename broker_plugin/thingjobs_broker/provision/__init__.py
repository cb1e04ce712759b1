"""Makes what a broker admin needs: a private CA, certificates, passwords, the files of brokers and devices.

`setup.Setup` is the way in; the other modules make texts, keys and certificates.
"""
