"""``python -m resport``: the command line."""

from resport.cli.main import main

if __name__ == "__main__":
    main()
